"""`python -m gp4u_server.api --host 127.0.0.1 --port 8000`, or `--uds PATH` behind a proxy on this machine."""

import argparse

import uvicorn

from gp4u_server.api.app import create_app
from gp4u_server.bootstrap import build
from gp4u_server.foundation.logs import configure_logs
from gp4u_server.settings import Settings

# A stream that never ends must not keep a restart waiting for ever.
GRACE_S = 10


def main() -> None:
    """Serve until SIGTERM or SIGINT; running requests are finished first."""
    parser = argparse.ArgumentParser(prog="python -m gp4u_server.api")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--uds", help="listen on this socket instead")
    arguments = parser.parse_args()
    settings = Settings()
    configure_logs(settings.log_level, process="api")
    uvicorn.run(
        create_app(build(settings, process="api")),
        host=arguments.host,
        port=arguments.port,
        uds=arguments.uds,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        # Only our proxies may say who the client is. A Unix socket is reachable from this machine only.
        forwarded_allow_ips="*" if arguments.uds else list(settings.trusted_proxies),
        timeout_graceful_shutdown=GRACE_S,
    )


if __name__ == "__main__":
    main()
