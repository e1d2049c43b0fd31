"""Open incidents, with what is known at once. In the transaction of the fact: rows are inserted, nothing is decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.incidents import repository
from gp4u_server.catalyst.incidents.decisions import Patience
from gp4u_server.catalyst.incidents.models import Incident
from gp4u_server.catalyst.incidents.types import IncidentKind
from gp4u_server.catalyst.jobs.events import PlacementEnded
from gp4u_server.catalyst.jobs.types import Outcome
from gp4u_server.foundation.events import EventBus
from gp4u_server.kit.ids import new_id
from gp4u_server.nodes.events import NodeDutyChanged, NodeLivenessChanged
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import Duty, Liveness

RUN_GIVEN_UP = frozenset({"shim_lost", "killed", "restore_failed"})
_KINDS = {Outcome.FAILED: IncidentKind.JOB_FAILED, Outcome.START_FAILED: IncidentKind.START_FAILED}


@dataclass(frozen=True)
class Opening:
    """Subscribed to facts about nodes and runs."""

    bus: EventBus
    nodes: NodeService
    patience: Patience

    def subscribe(self) -> None:
        """Register everything (called by bootstrap)."""
        self.bus.subscribe(NodeLivenessChanged, self.liveness_changed, self.livenesses_changed)
        self.bus.subscribe(NodeDutyChanged, self.duty_changed)
        self.bus.subscribe(PlacementEnded, self.run_ended)

    async def liveness_changed(self, session: AsyncSession, event: NodeLivenessChanged) -> None:
        """A node is lost, or back. Its row is locked."""
        if event.liveness is Liveness.LOST and event.was is not Liveness.OFFLINE:
            await self._node_lost(session, event)
        elif event.liveness is Liveness.ONLINE and event.was is not Liveness.SUSPECT:
            await self._node_back(session, event)

    async def livenesses_changed(self, session: AsyncSession, events: Sequence[NodeLivenessChanged]) -> None:
        """The same of several nodes. Few of those that come back were ever declared lost."""
        away = await repository.nodes_away(session, [event.node_id for event in events])
        for event in events:
            if event.liveness is not Liveness.ONLINE or event.node_id in away:
                await self.liveness_changed(session, event)

    async def _node_lost(self, session: AsyncSession, event: NodeLivenessChanged) -> None:
        node = await repository.node_of(session, event.node_id)
        assert node is not None
        now = await repository.db_now(session)
        began_at = now - timedelta(seconds=event.silent_s or 0.0)
        # A gateway that has been unbroken since before the last beat heard the silence itself.
        unbroken_since = await repository.gateway_unbroken_since(session, node.gateway_id)
        life = await self.nodes.agent_life(session, event.node_id)
        await repository.insert_incident(
            session,
            id=new_id("inc"),
            kind=IncidentKind.NODE_LOST,
            node_id=event.node_id,
            owner_id=node.owner_id,
            gateway_id=node.gateway_id,
            region=node.region,
            began_at=began_at,
            opened_at=now,
            ours=event.ours,
            off_duty=node.duty == Duty.MAINTENANCE,
            socket_open=event.socket_open,
            before={
                "session_no": event.session_no,
                "duty": node.duty,
                "gateway_unsure": unbroken_since is not None and unbroken_since > began_at,
                "gateway_unbroken_since": None if unbroken_since is None else unbroken_since.isoformat(),
                "agent": None if life is None else life.model_dump(mode="json"),
            },
            due_at=self.patience.first_look_at(now),
            deadline_at=self.patience.deadline(IncidentKind.NODE_LOST, now),
        )

    async def _node_back(self, session: AsyncSession, event: NodeLivenessChanged) -> None:
        now = await repository.db_now(session)
        for found in await repository.away(session, event.node_id):
            life = await self.nodes.agent_life(session, event.node_id)
            await repository.change(
                session,
                found.id,
                returned_at=now,
                away_until=found.away_until or now,
                after={
                    "session_no": event.session_no,
                    "same_session": event.session_no == found.before.get("session_no"),
                    "agent": None if life is None else life.model_dump(mode="json"),
                },
                due_at=self.patience.first_look_at(now),
            )

    async def duty_changed(self, session: AsyncSession, event: NodeDutyChanged) -> None:
        """A node that is away and goes out of service need not be there any more."""
        if event.duty not in (Duty.DRAINING, Duty.MAINTENANCE):
            return
        now = await repository.db_now(session)
        for found in await repository.away(session, event.node_id):
            if found.away_until is None:
                await repository.change(session, found.id, away_until=now)

    async def run_ended(self, session: AsyncSession, event: PlacementEnded) -> None:
        """A run was lost, failed or never began. Its job's row is locked, and no node's need be."""
        if event.outcome not in (Outcome.LOST, Outcome.FAILED, Outcome.START_FAILED):
            return
        run = await repository.run_of(session, event.placement_id)
        if run is None:
            return
        kind = _KINDS.get(event.outcome, IncidentKind.RUN_LOST)
        if event.outcome is Outcome.LOST and run.reason not in RUN_GIVEN_UP:
            loss = await repository.loss_at(session, run.node_id, run.lost_at or event.at)
            if loss is not None:
                await self._hit(session, loss.id, event, tell_at=loss.settled_at)
                return
        if run.stop_reason is not None:
            return  # it was to end anyway
        incident_id = new_id("inc")
        await repository.insert_incident(
            session, **await self._of_run(session, incident_id, kind, run, event)
        )
        await self._hit(session, incident_id, event, tell_at=None)

    async def _of_run(
        self, session: AsyncSession, incident_id: str, kind: IncidentKind, run: Any, event: PlacementEnded
    ) -> dict[str, Any]:
        node = await repository.node_of(session, run.node_id)
        assert node is not None
        now = await repository.db_now(session)
        unbroken_since = await repository.gateway_unbroken_since(session, node.gateway_id)
        since = run.created_at if kind is IncidentKind.START_FAILED else event.at
        return {
            "id": incident_id,
            "kind": kind,
            "node_id": run.node_id,
            "owner_id": node.owner_id,
            "gateway_id": node.gateway_id,
            "region": node.region,
            "job_id": run.job_id,
            "placement_id": run.id,
            "reason": run.reason,
            "began_at": event.at,
            "opened_at": now,
            "before": {
                "liveness": node.liveness,
                "duty": node.duty,
                "gateway_unsure": unbroken_since is not None and unbroken_since > since,
            },
            "due_at": self.patience.first_look_at(now),
            "deadline_at": self.patience.deadline(kind, now),
        }

    @staticmethod
    async def _hit(session: AsyncSession, incident_id: str, event: PlacementEnded, tell_at: Any) -> None:
        await repository.insert_run(
            session,
            placement_id=event.placement_id,
            incident_id=incident_id,
            job_id=event.job_id,
            epoch=event.epoch,
            tell_at=tell_at,
        )


def away_s(found: Incident) -> float | None:
    """How long the node was away by this loss, as far as it was meant to be there; None: it is not back yet."""
    if found.away_until is None:
        return None
    return max(0.0, (found.away_until - found.began_at).total_seconds())
