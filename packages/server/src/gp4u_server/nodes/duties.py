"""Use cases of duty: draining, maintenance, quarantine. Part of `NodeService`; decisions are in `duty`."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.foundation.events import EventBus
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.ids import new_id
from gp4u_server.nodes import device_repository, duty_repository, repository, window_repository
from gp4u_server.nodes.duty import FLAPPING_WINDOW, Quarantine, quarantine_after_loss
from gp4u_server.nodes.errors import NodeNotFound
from gp4u_server.nodes.events import NodeDrainRequested, NodeDutyChanged, NodeFactsChanged
from gp4u_server.nodes.models import NodeRow
from gp4u_server.nodes.types import DrainingNode, Duty

DRAINED_BY_OWNER = "Its owner takes the node out of service."


@dataclass(frozen=True)
class NodeDuties:
    """What decides whether a node takes jobs. Every use case locks the node's row and no other of ours."""

    bus: EventBus
    clock: Clock

    async def drain(
        self,
        session: AsyncSession,
        node_id: str,
        *,
        owner_id: str | None,
        reason: str | None = None,
        within_s: int | None = None,
    ) -> None:
        """Take no new jobs and move those that run; with none left the node is in maintenance.

        `owner_id` None: whoever asks may drain every node. `within_s`: the node may be switched off after so many
        seconds. Asked again, it changes reason and deadline. Raises NodeNotFound.
        """
        row = await self._locked(session, node_id, owner_id)
        now = self.clock.now()
        deadline = now + timedelta(seconds=within_s) if within_s is not None else None
        said = reason or DRAINED_BY_OWNER
        busy = bool(await repository.running_jobs(session, [node_id]))
        duty = Duty.DRAINING if busy or row.duty != Duty.MAINTENANCE else Duty.MAINTENANCE
        # From here on nobody counts on it.
        columns = {"maintenance_until": None, **closed_downtime(row, now)}
        await self._assume(session, row, duty, said, now, drain_deadline_at=deadline, **columns)
        if duty is Duty.DRAINING:
            await self.bus.publish(
                session, NodeDrainRequested(node_id=node_id, reason=said, deadline_at=deadline)
            )

    async def undrain(self, session: AsyncSession, node_id: str, *, owner_id: str | None) -> None:
        """Back into service, from drain, maintenance or quarantine. Harmless on a node that is. A maintenance window that
        has begun is over, and GPUs that had failed and are there are offered again: who says so has seen to them. Raises
        NodeNotFound."""
        row = await self._locked(session, node_id, owner_id)
        now = self.clock.now()
        ended: dict[str, object] = {"maintenance_until": None, "watched_reason": None}
        if row.duty == Duty.QUARANTINED:
            ended["quarantined_until"] = now
        await window_repository.end_active(session, node_id)
        mended = await device_repository.forgive(session, node_id)
        await self._assume(session, row, Duty.IN_SERVICE, None, now, **ended)
        if mended:
            await self.bus.publish(session, NodeFactsChanged(node_id=node_id))

    async def watch(self, session: AsyncSession, node_id: str, reason: str | None) -> None:
        """It showed a sign of failing that is held back: shown to its owner, and nothing else. None: no more. Locks the
        node; harmless when it was removed."""
        if await repository.node(session, node_id, lock=True) is not None:
            await repository.change_node(session, node_id, watched_reason=reason)

    async def count_serving(self, session: AsyncSession) -> int:
        """How many nodes there are to count on: verified, and connected as far as we know."""
        return await duty_repository.count_serving(session)

    async def draining_nodes(self, session: AsyncSession) -> list[DrainingNode]:
        """Nodes whose jobs are to be moved, until none is left there."""
        return [
            DrainingNode(row.id, row.duty_reason or DRAINED_BY_OWNER, row.drain_deadline_at)
            for row in await duty_repository.draining(session)
        ]

    async def settle_duties(self, session: AsyncSession) -> int:
        """One drained node goes into maintenance, or one quarantine that is over ends. Returns how many (0 or 1)."""
        now = self.clock.now()
        row = await duty_repository.due(session, now)
        if row is None:
            return 0
        if row.duty == Duty.DRAINING:
            await self._assume(
                session,
                row,
                Duty.MAINTENANCE,
                row.duty_reason,
                now,
                drain_deadline_at=row.drain_deadline_at,
            )
        else:
            await self._assume(session, row, Duty.IN_SERVICE, None, now)
        return 1

    async def _lost(self, session: AsyncSession, row: NodeRow, at: datetime, *, ours: bool) -> None:
        """The node's row is locked and was just written as lost."""
        await duty_repository.insert_loss(session, id=new_id("loss"), node_id=row.id, at=at, ours=ours)
        losses = await duty_repository.losses_since(session, row.id, at - FLAPPING_WINDOW)
        quarantine = quarantine_after_loss(Duty(row.duty), losses, row.quarantines, row.quarantined_until, at)
        if quarantine is not None:
            await self._quarantine(session, row, quarantine, at)

    async def _quarantine(
        self, session: AsyncSession, row: NodeRow, quarantine: Quarantine, at: datetime
    ) -> None:
        await self._assume(
            session,
            row,
            Duty.QUARANTINED,
            quarantine.reason,
            at,
            quarantined_until=quarantine.until,
            quarantines=quarantine.count,
        )

    async def _locked(self, session: AsyncSession, node_id: str, owner_id: str | None) -> NodeRow:
        row = await repository.node(session, node_id, owner_id=owner_id, lock=True)
        if row is None:
            raise NodeNotFound("There is no such node of yours.")
        return row

    async def _assume(
        self,
        session: AsyncSession,
        row: NodeRow,
        duty: Duty,
        reason: str | None,
        at: datetime,
        **columns: object,
    ) -> None:
        was = Duty(row.duty)
        since = row.duty_since if was is duty else at
        changes = {"drain_deadline_at": None, "duty_since": since, "duty_reason": reason, **columns}
        await repository.change_node(session, row.id, duty=duty, **changes)
        if was is not duty:
            until = changes.get("quarantined_until") or changes.get("maintenance_until")
            await self.bus.publish(
                session,
                NodeDutyChanged(
                    node_id=row.id,
                    duty=duty,
                    was=was,
                    reason=reason,
                    until=until if isinstance(until, datetime) else None,
                ),
            )


def closed_downtime(row: NodeRow, at: datetime) -> dict[str, object]:
    """The columns after a node that was away is back, or need not be there any more."""
    if row.down_since is None:
        return {}
    away_ms = max(0, round((at - row.down_since).total_seconds() * 1000))
    return {"down_ms": row.down_ms + away_ms, "down_since": None}
