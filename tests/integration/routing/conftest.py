"""A whole platform, a renter with money and an owner whose nodes are online."""

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
import pytest
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.clock import SystemClock
from gp4u_server.kit.db import Database
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import Liveness
from gp4u_server.settings import Settings

from tests.integration.api.conftest import bearer, client, platform, settings, tokens_of
from tests.integration.market_world import facts, signed

__all__ = ["client", "platform", "real_settings", "settings"]

real_settings = settings


@pytest.fixture
def settings(real_settings: Settings) -> Settings:
    """Settings of a demo, because the nodes here are simulated."""
    return real_settings.model_copy(update={"demo": True})


@dataclass
class Marketplace:
    """Everything over HTTP, except the connection of an agent to its gateway."""

    http: httpx2.AsyncClient
    platform: Platform
    owner: dict[str, str]
    renter: dict[str, str]
    numbers: Any = field(default_factory=count)

    @property
    def database(self) -> Database:
        return self.platform.get(Database)

    async def call(self, method: str, path: str, who: dict[str, str] | None, **body: Any) -> httpx2.Response:
        return await self.http.request(method, f"/api/v1{path}", headers=who or {}, **body)

    async def ok(self, method: str, path: str, who: dict[str, str] | None = None, **body: Any) -> Any:
        answer = await self.call(method, path, who, **body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def node(
        self, *, region: str = "eu-west", name: str | None = None, **machine: Any
    ) -> dict[str, Any]:
        """A node that joined over HTTP and is online."""
        hostname = name or f"box{next(self.numbers)}"
        told = facts(hostname=hostname, **machine)
        made = await self.ok(
            "POST", "/enrolment-tokens", self.owner, json={"region": region, "node_name": name}
        )
        joined = await self.ok(
            "POST", "/agent/join", json={**signed(made["token"]), "facts": told.model_dump(mode="json")}
        )
        async with self.database.transaction() as session:
            await self.platform.get(NodeService).record_connected(
                session, joined["node_id"], gateway_id="gw", facts=told, now=SystemClock().now()
            )
        return joined

    async def offer(self, *, price: int = 500_000, **node: Any) -> dict[str, Any]:
        """A listed offer on a fresh node."""
        joined = await self.node(**node)
        return await self.ok(
            "POST",
            "/offers",
            self.owner,
            json={"node_id": joined["node_id"], "price_per_gpu_hour_micros": price},
        )

    async def lose(self, node_id: str) -> None:
        """The node's lease runs out."""
        async with self.database.transaction() as session:
            assert await self.platform.get(NodeService).record_liveness(
                session, node_id, session_no=1, liveness=Liveness.LOST, at=SystemClock().now()
            )

    async def submit(self, **spec: Any) -> dict[str, Any]:
        """A job of the renter's; the router places it."""
        return await self.ok("POST", "/jobs", self.renter, json={"command": "true", **spec})

    async def decisions(self, job_id: str) -> list[dict[str, Any]]:
        """Why."""
        return await self.ok("GET", f"/jobs/{job_id}/decisions", self.renter)


@pytest.fixture
async def marketplace(client: httpx2.AsyncClient, platform: Platform) -> Marketplace:
    owner = bearer((await tokens_of(client, "owner@example.org", "owner"))["access_token"])
    renter = bearer((await tokens_of(client, "renter@example.org", "renter"))["access_token"])
    made = Marketplace(client, platform, owner, renter)
    await made.ok("POST", "/wallet/top-ups", renter, json={"amount_micros": 100_000_000})
    return made
