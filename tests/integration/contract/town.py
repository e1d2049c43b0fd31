"""A small town behind the real application: everybody, and one of everything, so that each route can be tried.

`operations()` is the OpenAPI document; what the suites beside this file demand of each of its operations is written
in tables, and an operation that has no row fails them. So a new route cannot come without its promises.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from blake3 import blake3
from gp4u_protocol.messages import ActualState, Report
from gp4u_server.accounts.roles import grant_role
from gp4u_server.accounts.types import Role
from gp4u_server.api.app import create_app
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.standby import repository as standbys
from gp4u_server.catalyst.telemetry import hold_repository as holds
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.tokens import AgentTokens
from sqlalchemy import text

from tests.integration.api.conftest import bearer, tokens_of
from tests.integration.market_world import World, facts, signed
from tests.integration.routing.conftest import Marketplace

API = "/api/v1"
CANARY = "canary"  # in everything that only its renter may read


@dataclass(frozen=True)
class Operation:
    """One operation of the OpenAPI document."""

    id: str
    method: str
    path: str
    spec: dict[str, Any]

    @property
    def body(self) -> dict[str, Any] | None:
        """The schema of its JSON body."""
        content = self.spec.get("requestBody", {}).get("content", {})
        schema: dict[str, Any] | None = content.get("application/json", {}).get("schema")
        return schema

    @property
    def takes_a_key(self) -> bool:
        """Whether it promises `Idempotency-Key`."""
        return any(parameter["name"] == "Idempotency-Key" for parameter in self.parameters)

    @property
    def parameters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.spec.get("parameters", [])
        return found

    @property
    def is_write(self) -> bool:
        return self.method != "GET"


DOCUMENT: dict[str, Any] = create_app().openapi()


def operations() -> dict[str, Operation]:
    """Every operation by its id."""
    return {
        spec["operationId"]: Operation(spec["operationId"], method.upper(), path, spec)
        for path, methods in DOCUMENT["paths"].items()
        for method, spec in methods.items()
    }


@dataclass
class Town:
    """Who lives there, and what is theirs."""

    market: Marketplace
    people: dict[str, dict[str, str]] = field(default_factory=dict)  # name → headers
    ids: dict[str, str] = field(default_factory=dict)  # path parameter → the object of `renter` or `owner`
    placement: dict[str, Any] = field(default_factory=dict)
    refresh_token: str = ""
    ended_job_id: str = ""

    @property
    def http(self) -> httpx2.AsyncClient:
        return self.market.http

    @property
    def database(self) -> Database:
        return self.market.database

    def path(self, operation: Operation, **ids: str) -> str:
        """Its address, with this town's objects in it."""
        path = operation.path
        for name, value in {**self.ids, **ids}.items():
            path = path.replace(f"{{{name}}}", value)
        return path

    @property
    def fence(self) -> dict[str, Any]:
        """What every call of the node's agent names."""
        return {"placement_id": self.placement["id"], "epoch": self.placement["epoch"]}

    def query(self, operation: Operation) -> dict[str, Any]:
        """Required query parameters."""
        known: dict[str, Any] = self.fence
        return {
            p["name"]: known[p["name"]] for p in operation.parameters if p["in"] == "query" and p["required"]
        }

    def examples(self) -> dict[str, dict[str, Any]]:
        """A body that means something here, for each operation that takes one."""
        manifest = {**self.fence, "upload_id": self.ids["open_upload"], "blake3": "0" * 64, "size_bytes": 4}
        token = "gp4u-enrol-none"
        return {
            "register": {"email": "new@example.org", "password": "a long password 7", "name": "N"},
            "sign_in": {"email": "renter@example.org", "password": "not this one"},
            "create_token": {"email": "renter@example.org", "password": "not this one"},
            "refresh_token": {"refresh_token": "nothing"},
            "revoke_token": {"refresh_token": "nothing"},
            "create_api_key": {"name": "k", "scopes": ["read"], "expires_at": "2099-01-01T00:00:00Z"},
            "create_booking": {"offer_id": self.ids["offer_id"], "job": self.job_body()},
            "submit_job": self.job_body(),
            "promise_job": self.job_body(),
            "drain_node": {"reason": "A new fan.", "within_s": 600},
            "plan_maintenance": {
                "starts_at": (datetime.now(UTC) + timedelta(days=200)).isoformat(),
                "duration_s": 3600,
            },
            "rule_on_incident": {"cause": "platform", "reason": "A switch of ours failed."},
            "decide_drain_hold": {"decision": "dismissed", "reason": "An update of the driver."},
            "top_up": {"amount_micros": 5_000_000},
            "create_upload": {"size_bytes": 10, "blake3": "a" * 64},
            "create_enrolment_token": {"region": "eu-west"},
            "list_offer": {"node_id": self.ids["node_id"], "price_per_gpu_hour_micros": 500_000},
            "change_offer": {"price_per_gpu_hour_micros": 510_000},
            "fault_device": {"kind": "xid"},
            "set_link": {"mode": "cut", "delay_ms": 0, "loss_percent": 0},
            "join": {**signed(token), "facts": facts(tag="join").model_dump(mode="json")},
            "open_upload": self.fence,
            "announce_packs": {
                **self.fence,
                "upload_id": self.ids["open_upload"],
                "packs": [{"id": "0" * 32, "size_bytes": 4}],
            },
            "sign_manifest": manifest,
            "commit_checkpoint": {
                **manifest,
                "packs": [],
                "files": 0,
                "content_bytes": 0,
                "stored_bytes": 0,
                "step": 1,
                "trigger": "job",
            },
            "report_damage": {**self.fence, "detail": "x"},
        }

    def job_body(self) -> dict[str, Any]:
        """A job of the renter's own."""
        return {"name": "again", "command": "true", "environment": {"A": "b"}, "resources": {"gpus": 1}}

    async def call(self, operation: Operation, who: str, body: Any = None, **ids: str) -> httpx2.Response:
        """One call, as `who`, with this town's objects unless told otherwise."""
        self.http.cookies.clear()
        if body is None and operation.body is not None:
            body = self.examples()[operation.id]
        return await self.http.request(
            operation.method,
            self.path(operation, **ids),
            params=self.query(operation),
            headers=self.people[who],
            **({} if body is None else {"json": body}),
        )

    async def fail_over(self) -> None:
        """The node is lost; the job goes on as the next epoch on another one."""
        jobs = self.market.platform.get(JobService)
        await self.market.lose(self.ids["node_id"])
        async with self.database.transaction() as session:
            await jobs.record_node_lost(session, self.ids["node_id"], 6.0)
        async with self.database.transaction() as session:
            assert await jobs.settle_loss(session, self.ids["job_id"])
        await self.market.offer(price=400_000)
        async with self.database.transaction() as session:
            from_router = self.market.platform.provided
            router = next(value for kind, value in from_router.items() if kind.__name__ == "Router")
            assert (await router.place(session, self.ids["job_id"])).placed

    async def rows(self) -> dict[str, str]:
        """A digest of every table's rows, to see that nothing was changed."""
        async with self.database.transaction() as session:
            names = (
                await session.scalars(
                    text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
                )
            ).all()
            return {
                name: str(
                    await session.scalar(
                        text(
                            f"SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {name} t"
                        )
                    )
                )
                for name in names
            }


async def build_town(market: Marketplace, client: httpx2.AsyncClient) -> Town:
    """Accounts, a running job with a checkpoint on a real node, its booking, keys and uploads."""
    platform: Platform = market.platform
    town = Town(market)
    for name, roles in (
        ("stranger", ["renter"]),
        ("other_owner", ["owner"]),
        ("both", ["renter", "owner"]),
        ("admin", ["renter"]),
    ):
        town.people[name] = bearer((await tokens_of(client, f"{name}@example.org", *roles))["access_token"])
    async with market.database.transaction() as session:
        await grant_role(session, email="admin@example.org", role=Role.ADMIN)
    town.people |= {"nobody": {}, "renter": market.renter, "owner": market.owner}
    offer = await market.offer(gpus=2)
    town.ids |= {"node_id": offer["node_id"], "offer_id": offer["id"], "name": "atlas"}
    job = await market.submit(name=CANARY, command=f"echo {CANARY}", environment={"SECRET": CANARY})
    placed = job["placement"]
    town.ids["job_id"] = job["id"]
    town.placement = placed
    jobs = platform.get(JobService)
    async with market.database.transaction() as session:
        await jobs.record_claim(session, placed["node_id"], placed["id"], placed["epoch"])
        await jobs.record_report(
            session,
            placed["node_id"],
            Report(seq=1, placement_id=placed["id"], epoch=placed["epoch"], state=ActualState.RUNNING),
        )
    town.people["agent"] = bearer(platform.get(AgentTokens).mint(placed["node_id"]))
    window = {"starts_at": (datetime.now(UTC) + timedelta(days=300)).isoformat(), "duration_s": 3600}
    planned = await market.ok("POST", f"/nodes/{offer['node_id']}/maintenance", market.owner, json=window)
    town.ids["window_id"] = planned["id"]
    booking = (await market.ok("GET", "/bookings", market.renter))["items"][0]
    town.ids["booking_id"] = booking["id"]
    key = await market.ok("POST", "/api-keys", market.renter, json={"name": CANARY, "scopes": ["read"]})
    town.ids["key_id"] = key["id"]
    town.people["reader"] = bearer(key["key"])
    # The one that registering opened, so that the one that the suites use lives on when it is ended.
    sessions = (await market.ok("GET", "/sessions", market.renter))["items"]
    town.ids["session_id"] = next(found["id"] for found in sessions if not found["current"])
    upload = await market.ok("POST", "/uploads", market.renter, json={"size_bytes": 4, "blake3": "b" * 64})
    town.ids["upload_id"] = upload["id"]
    await _checkpoint(town)
    await _incident(town)
    ended = await market.submit(name=CANARY, command="true", resources={"gpus": 16, "vram_gb_min": 1024})
    await market.ok("POST", f"/jobs/{ended['id']}/stop", market.renter)
    town.ended_job_id = ended["id"]
    async with market.database.transaction() as session:
        standby = await standbys.insert(
            session,
            id=new_id("sby"),
            job_id=ended["id"],
            number=1,
            booking_id="bkg_none",
            offer_id=offer["id"],
            node_id=placed["node_id"],
            node_name=placed["node_name"],
            region="eu-west",
            gpu_model=placed["gpu_model"],
            gpus=1,
            rate_per_hour_micros=1,
            state="preparing",
        )
        town.ids["standby_id"] = standby.id
        await holds.insert_hold(
            session,
            id="hld_example",
            kind="xid",
            code="48",
            reason="An example.",
            nodes_showing=3,
            nodes_serving=6,
            began_at=datetime.now(UTC),
            last_sign_at=datetime.now(UTC),
        )
        town.ids["hold_id"] = "hld_example"
    return town


async def _incident(town: Town) -> None:
    """A job of the renter's failed on the node, and an admin's ruling on that was taken back."""
    platform, placed = town.market.platform, await town.market.submit(name=CANARY, command="false")
    run = placed["placement"]
    jobs = platform.get(JobService)
    named = {"placement_id": run["id"], "epoch": run["epoch"]}
    async with town.database.transaction() as session:
        await jobs.record_claim(session, run["node_id"], run["id"], run["epoch"])
        ended = Report(seq=1, **named, state=ActualState.EXITED, exit_code=1)
        await jobs.record_report(session, run["node_id"], ended)
        found = await session.scalar(
            text("SELECT id FROM incidents WHERE placement_id = :id"), {"id": run["id"]}
        )
        town.ids["incident_id"] = str(found)
        await platform.get(NodeService).attribute(
            session, run["node_id"], away_ms=1, incident_id=str(found), reason="an example"
        )


async def _checkpoint(town: Town) -> None:
    """One committed checkpoint of the running job, by its agent, and one upload that is open."""
    agent = town.people["agent"]
    opened = await town.market.ok("POST", "/agent/checkpoints/open", agent, json=town.fence)
    content = b"data"
    named = {
        **town.fence,
        "upload_id": opened["upload_id"],
        "blake3": blake3(content).hexdigest(),
        "size_bytes": len(content),
    }
    address = await town.market.ok("POST", "/agent/checkpoints/manifest", agent, json=named)
    stored = await town.http.put(address["url"], content=content, headers=address["headers"])
    assert stored.status_code == 201, stored.text
    counts = {
        "packs": [],
        "files": 0,
        "content_bytes": 0,
        "stored_bytes": 4,
        "step": 1,
        "trigger": "interval",
    }
    made = await town.market.ok("POST", "/agent/checkpoints/commit", agent, json={**named, **counts})
    town.ids["checkpoint_id"] = made["id"]
    reopened = await town.market.ok("POST", "/agent/checkpoints/open", agent, json=town.fence)
    town.ids["open_upload"] = reopened["upload_id"]


def each(wanted: set[str]) -> Iterator[Operation]:
    """These operations, in the document's order; unknown names are errors."""
    known = operations()
    assert wanted <= set(known), wanted - set(known)
    return (operation for name, operation in known.items() if name in wanted)


__all__ = ["API", "CANARY", "DOCUMENT", "Operation", "Town", "World", "build_town", "each", "operations"]
