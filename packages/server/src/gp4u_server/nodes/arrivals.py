"""Many nodes that connect at once, as after a restart of ours: their sessions begin in a few statements.

Only of those of which nothing else is to be decided. Whoever brings other hardware, other findings, a failed GPU, or whose
row somebody holds just now, is left to `NodeService.record_connected`, one at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from gp4u_protocol.messages import AgentLife, NodeFacts
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.foundation.events import EventBus
from gp4u_server.nodes import arrival_repository
from gp4u_server.nodes.decisions import FactsInvalid, check_facts
from gp4u_server.nodes.events import NodeLivenessChanged
from gp4u_server.nodes.ports import HardwareCatalogue
from gp4u_server.nodes.types import Liveness, NodeStatus

FACTS_LEFT_OUT = frozenset({"disk_free_mb"})
"""Of what is compared: it is another one every time, and has a column of its own."""


class Arrival(NamedTuple):
    """A node that proved its key, and what its agent said."""

    node_id: str
    facts: NodeFacts
    life: AgentLife | None


class StandingNode(NamedTuple):
    """The row, locked, of a node that may be let in with others."""

    node_id: str
    gateway_id: str | None
    liveness: Liveness


class Arrived(NamedTuple):
    """Its new session."""

    session_no: int
    desired_version: int
    lease_ttl_ms: int


@dataclass(frozen=True)
class NodeArrivals:
    """A part of `NodeService`."""

    bus: EventBus
    catalogue: HardwareCatalogue

    async def lock_arrivals(
        self, session: AsyncSession, arrivals: Sequence[Arrival]
    ) -> dict[str, StandingNode]:
        """Those of these nodes of which nothing else is to be decided, their rows locked until commit. Waits for nobody:
        rows that are locked are left out."""
        plain: dict[str, StandingNode] = {}
        facts = {each.node_id: each.facts for each in arrivals}
        sent = [
            (node_id, said.model_dump_json(exclude=set(FACTS_LEFT_OUT))) for node_id, said in facts.items()
        ]
        rows = await arrival_repository.lock_nodes(session, sent)
        uuids = await arrival_repository.devices_in_order(session, [row.id for row in rows])
        for row in rows:
            said = facts[row.id]
            if not row.same or row.simulated != _is_simulated(said) or row.id not in uuids:
                continue
            try:
                check_facts(said)
            except FactsInvalid:
                continue
            findings = self.catalogue.findings(said)
            status = NodeStatus.PENDING if findings else NodeStatus.VERIFIED
            listed = {device.uuid for device in said.devices}
            if findings == list(row.findings) and status == row.status and uuids[row.id] <= listed:
                plain[row.id] = StandingNode(row.id, row.gateway_id, Liveness(row.liveness))
        return plain

    async def record_arrivals(
        self,
        session: AsyncSession,
        standing: Sequence[StandingNode],
        arrivals: Sequence[Arrival],
        *,
        gateway_id: str,
        now: datetime,
        lease_ttl_s: float,
    ) -> dict[str, Arrived]:
        """Begin the sessions of nodes that `lock_arrivals` answered in this transaction, as `record_connected` does."""
        chosen = {node.node_id for node in standing}
        here = [each for each in arrivals if each.node_id in chosen]
        arrived = {
            row.id: Arrived(row.session_no, row.desired_version, row.lease_ttl_ms)
            for row in await arrival_repository.begin_sessions(
                session,
                [(each.node_id, each.facts.disk_free_mb) for each in here],
                gateway_id=gateway_id,
                now=now,
                least_ttl_ms=round(lease_ttl_s * 1000),
            )
        }
        lives = [(each.node_id, each.life.model_dump_json()) for each in here if each.life is not None]
        await arrival_repository.keep_lives(session, sorted(lives))
        await self.bus.publish_all(
            session,
            [
                NodeLivenessChanged(
                    node_id=node.node_id,
                    liveness=Liveness.ONLINE,
                    was=node.liveness,
                    session_no=arrived[node.node_id].session_no,
                    at=now,
                )
                for node in standing
                if node.liveness is not Liveness.ONLINE
            ],
        )
        return arrived


def _is_simulated(facts: NodeFacts) -> bool:
    return facts.simulated or any(device.simulated for device in facts.devices)
