"""`python -m gp4u_server.gateway --host 127.0.0.1 --port 8001`."""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from gp4u_protocol.messages import FRAME_BYTES_MAX
from starlette.applications import Starlette

from gp4u_server.accounts.authenticator import Authenticator
from gp4u_server.bootstrap import build
from gp4u_server.catalyst.health.service import HealthService
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.standby.service import StandbyService
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.foundation.logs import configure_logs
from gp4u_server.foundation.platform import Platform
from gp4u_server.foundation.streams import Streams
from gp4u_server.gateway.app import create_app
from gp4u_server.gateway.hub import Hub
from gp4u_server.gateway.leaving import LeavingServer
from gp4u_server.gateway.scraping import ScrapersOnly
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database, connect
from gp4u_server.nodes.addresses import PublicAddress
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.tokens import AgentTokens
from gp4u_server.settings import Settings

GRACE_S = 3


def hub_of(platform: Platform, address: str) -> Hub:
    """The hub on the services that bootstrap provided."""
    settings = platform.settings
    authority = connect(settings.database_url, pool_size=1, application_name="gp4u-gateway-authority")
    platform.closers.append(authority.close)
    return Hub(
        database=platform.get(Database),
        nodes=platform.get(NodeService),
        jobs=platform.get(JobService),
        health=platform.get(HealthService),
        standbys=platform.get(StandbyService),
        tokens=platform.get(AgentTokens),
        streams=platform.get(Streams),
        clock=platform.provided[Clock],
        heartbeat_interval_s=settings.heartbeat_interval_s,
        lease_ttl_s=settings.lease_ttl_s,
        lease_ttl_max_s=settings.lease_ttl_max_s,
        address=address,
        public=platform.get(PublicAddress),
        authority_database=authority,
        telemetry=platform.get(TelemetryService),
        telemetry_every_s=settings.telemetry_every_s,
    )


def application(settings: Settings, address: str) -> Starlette:
    """The gateway as an ASGI app that closes what bootstrap opened."""
    platform = build(settings, process="gateway")
    hub = hub_of(platform, address)
    app = create_app(hub)
    app.state.hub = hub
    app.add_middleware(ScrapersOnly, authenticator=platform.get(Authenticator))
    hub_lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: Starlette) -> AsyncIterator[None]:
        async with platform.running(), hub_lifespan(running):
            yield

    app.router.lifespan_context = lifespan
    return app


def main() -> None:
    """Serve until SIGTERM or SIGINT. Then the agents are sent to the other gateways (see `leaving`)."""
    parser = argparse.ArgumentParser(prog="python -m gp4u_server.gateway")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    arguments = parser.parse_args()
    settings = Settings()
    configure_logs(settings.log_level, process="gateway")
    app = application(settings, f"{arguments.host}:{arguments.port}")
    config = uvicorn.Config(
        app,
        host=arguments.host,
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=FRAME_BYTES_MAX,
        # Heartbeats are the liveness check; two of them would only disagree.
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = LeavingServer(config, app.state.hub)
    server.run()
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
