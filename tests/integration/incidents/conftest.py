"""The whole platform on a real database; gateways and the controller's loops are played by hand, call for call."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from gp4u_protocol.job_spec import JobSpec
from gp4u_protocol.messages import ActualState, AgentLife, NodeFacts, Report
from gp4u_server.accounts.service import Accounts
from gp4u_server.accounts.types import Role
from gp4u_server.billing.top_ups import TopUpService
from gp4u_server.bookings.service import BookingService
from gp4u_server.bootstrap import build
from gp4u_server.catalyst.health.lease_table import Change, NodeState
from gp4u_server.catalyst.health.service import HealthService
from gp4u_server.catalyst.incidents.control import IncidentLoop
from gp4u_server.catalyst.incidents.reading import IncidentReader
from gp4u_server.catalyst.incidents.schemas import CaseOut, IncidentOut
from gp4u_server.catalyst.incidents.service import IncidentService
from gp4u_server.catalyst.incidents.types import CauseFilter, IncidentKind
from gp4u_server.catalyst.jobs.reading import JobReader
from gp4u_server.catalyst.jobs.schemas import JobEventOut
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.catalyst.telemetry.types import DeviceEvent, Severity
from gp4u_server.embedded.postgres import RunningPostgres
from gp4u_server.embedded.valkey import RunningValkey
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.clock import SystemClock
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id
from gp4u_server.market.service import MarketService, Terms
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import NodeView, ScoreChange
from sqlalchemy import text

from tests.integration.catalyst_world import settings_for
from tests.integration.market_world import facts, signed

LIFE = AgentLife(boot_id="boot-1", run_id="run-1", booted_s_ago=90_000, running_s=80_000, last_run="clean")


@dataclass
class Town:
    """People, nodes and jobs, and what happens to them."""

    platform: Platform
    gateway_id: str = field(default_factory=lambda: new_id("gw"))
    sessions: dict[str, int] = field(default_factory=dict)
    machines: dict[str, NodeFacts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.database = self.platform.get(Database)
        self.nodes = self.platform.get(NodeService)
        self.jobs = self.platform.get(JobService)
        self.health = self.platform.get(HealthService)
        self.incidents = self.platform.get(IncidentService)
        self.loop = IncidentLoop(self.database, self.incidents, self.nodes)

    async def person(self, *roles: Role) -> str:
        user = await self.platform.get(Accounts).ensure_account(
            email=f"{new_id('p')}@example.org", password="correct horse battery", name="P", roles=list(roles)
        )
        if Role.RENTER in roles:
            await self.platform.get(TopUpService).top_up(user.id, 100_000_000, None)
        return user.id

    async def gateway(self, gateway_id: str, *, since_s: float = 3600) -> None:
        """A gateway that has lived without a gap for so long."""
        async with self.database.transaction() as session:
            await self.health.begin_authority(session, gateway_id, "test")
            await session.execute(
                text(
                    "UPDATE gateways SET unbroken_since = clock_timestamp() - make_interval(secs => :s) WHERE id = :id"
                ),
                {"s": since_s, "id": gateway_id},
            )

    async def node(
        self,
        owner_id: str,
        gateway_id: str | None = None,
        *,
        gpus: int = 1,
        model: str = "RTX_4090",
        life: AgentLife | None = LIFE,
    ) -> str:
        """A listed node that is online."""
        machine = facts(hostname="box", model=model, gpus=gpus, tag=new_id("x"))
        async with self.database.transaction() as session:
            token = await self.nodes.create_enrolment_token(session, owner_id, region="eu-west")
            joined = await self.nodes.join(session, **signed(token.token), facts=machine)
            await self.platform.get(MarketService).list_node(
                session,
                owner_id=owner_id,
                owner_name="O",
                node_id=joined.node_id,
                terms=Terms(500_000, None, 60, 604_800),
            )
        self.machines[joined.node_id] = machine
        await self.connect(joined.node_id, gateway_id, life)
        return joined.node_id

    async def connect(
        self, node_id: str, gateway_id: str | None = None, life: AgentLife | None = LIFE
    ) -> None:
        """A fresh session."""
        async with self.database.transaction() as session:
            connected = await self.health.node_connected(
                session,
                node_id,
                gateway_id=gateway_id or self.gateway_id,
                facts=self.machines[node_id],
                life=life,
            )
        self.sessions[node_id] = connected.session_no

    async def change(self, node_id: str, state: NodeState, **more: Any) -> None:
        """The lease table's word on a node is written."""
        was = NodeState.ONLINE if state is NodeState.LOST else NodeState.LOST
        async with self.database.transaction() as session:
            assert await self.health.record_change(
                session, Change(node_id, self.sessions[node_id], state, 6.0, was, **more)
            )

    async def lose(self, *node_ids: str, **more: Any) -> None:
        """Their leases run out, and the failover loop settles what ran there."""
        for node_id in node_ids:
            await self.change(node_id, NodeState.LOST, **more)
        async with self.database.transaction() as session:
            lost = await self.jobs.unsettled_losses(session, 100)
        for job_id in lost:
            async with self.database.transaction() as session:
                await self.jobs.settle_loss(session, job_id)

    async def run(self, renter_id: str, node_id: str) -> tuple[str, dict[str, Any]]:
        """A job that runs on this node: its id, and its placement's."""
        offer_id = (await self.offer_of(node_id)).id
        async with self.database.transaction() as session:
            job = await self.platform.get(BookingService).submit_job(
                session, renter_id, JobSpec(command="true"), offer_id=offer_id
            )
            shown = await self.platform.get(JobReader).job(session, None, job.id)
        assert shown.placement is not None
        run = {
            "placement_id": shown.placement.id,
            "epoch": shown.placement.epoch,
            "node_id": shown.placement.node_id,
        }
        async with self.database.transaction() as session:
            await self.jobs.record_claim(session, run["node_id"], run["placement_id"], run["epoch"])
        await self.report(run, 1, ActualState.RUNNING)
        return job.id, run

    async def report(self, run: dict[str, Any], seq: int, state: ActualState, **more: Any) -> None:
        async with self.database.transaction() as session:
            ack = await self.jobs.record_report(
                session,
                run["node_id"],
                Report(seq=seq, placement_id=run["placement_id"], epoch=run["epoch"], state=state, **more),
            )
        assert not ack.stale

    async def device_event(self, node_id: str, kind: str, code: str, severity: Severity) -> None:
        now = SystemClock().now()
        uuid = self.machines[node_id].devices[0].uuid
        event = DeviceEvent(new_id("dev"), node_id, uuid, kind, code, severity, now, now, {})
        async with self.database.transaction() as session:
            await self.platform.get(TelemetryService).record(session, [event])

    async def settle(self) -> None:
        """Everything that is due."""
        while await self.loop.run_once():
            pass

    async def view(self, node_id: str) -> NodeView:
        async with self.database.transaction() as session:
            return await self.nodes.view(session, node_id)

    async def of_node(self, node_id: str) -> list[IncidentOut]:
        async with self.database.transaction() as session:
            return await IncidentReader().page(session, node_id, before_id=None, limit=100)

    async def case(
        self,
        *,
        cause: CauseFilter | None = None,
        kind: IncidentKind | None = None,
        ruled: bool | None = None,
        node_id: str | None = None,
    ) -> CaseOut:
        """The newest of what admins find with these filters."""
        async with self.database.transaction() as session:
            found = await IncidentReader().cases(
                session, cause=cause, kind=kind, ruled=ruled, node_id=node_id, before_id=None, limit=1
            )
            assert found[0] == await IncidentReader().case(session, found[0].id)
            return found[0]

    async def changes(self, node_id: str) -> list[ScoreChange]:
        async with self.database.transaction() as session:
            return await self.nodes.score_changes(session, node_id)

    async def timeline(self, job_id: str) -> list[JobEventOut]:
        async with self.database.transaction() as session:
            return await self.platform.get(JobReader).timeline(session, None, job_id, 0, 500)

    async def offer_of(self, node_id: str) -> Any:
        async with self.database.transaction() as session:
            found = await session.execute(text("SELECT * FROM offers WHERE node_id = :id"), {"id": node_id})
            return found.one()


@pytest.fixture(scope="module")
async def platform(
    postgres_server: RunningPostgres,
    migrated_template: str,
    valkey_server: RunningValkey,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Platform]:
    """One for all tests of a module: each has people, nodes and a gateway of its own."""
    name = f"test_{uuid4().hex}"
    _administer(postgres_server, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    settings = settings_for(
        postgres_server.url(name), valkey_server.url(), tmp_path_factory.mktemp("incidents")
    ).model_copy(update={"incident_settle_pause_s": 0.0})
    made = build(settings, process="test")
    yield made
    await made.close()
    await asyncio.to_thread(_administer, postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(server: RunningPostgres, statement: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
async def town(platform: Platform) -> Town:
    made = Town(platform)
    await made.gateway(made.gateway_id)
    return made
