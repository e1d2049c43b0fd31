"""Use cases of maintenance windows: planned by the owner, begun and ended by themselves. Part of `NodeService`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.kit.ids import new_id
from gp4u_server.nodes import window_repository
from gp4u_server.nodes.duties import NodeDuties, closed_downtime
from gp4u_server.nodes.errors import WindowInvalid, WindowNotFound
from gp4u_server.nodes.events import NodeDrainRequested, NodeFactsChanged
from gp4u_server.nodes.types import Duty, MaintenanceWindow, NodeStatus, WindowState

WINDOWS_PER_NODE_MAX = 20
PLANNED_AHEAD_MAX = timedelta(days=366)
WINDOW_MAINTENANCE = "Its owner's maintenance window has begun."


@dataclass(frozen=True)
class NodeWindows(NodeDuties):
    """Every use case locks the node's row first; windows of a node change only under that lock."""

    async def plan_window(
        self,
        session: AsyncSession,
        node_id: str,
        *,
        owner_id: str | None,
        starts_at: datetime,
        duration_s: int,
        reason: str | None = None,
    ) -> MaintenanceWindow:
        """Take the node out of service for a span. Its jobs are moved before, and it is back by itself after.

        Raises NodeNotFound, WindowInvalid (in the past, too far ahead, too many, or over another one).
        """
        await self._locked(session, node_id, owner_id)
        now = self.clock.now()
        ends_at = starts_at + timedelta(seconds=duration_s)
        if ends_at <= now:
            raise WindowInvalid("The window is over already.", field="starts_at")
        if starts_at > now + PLANNED_AHEAD_MAX:
            raise WindowInvalid("A window may be planned a year ahead at most.", field="starts_at")
        standing = await window_repository.standing(session, [node_id])
        if len(standing) >= WINDOWS_PER_NODE_MAX:
            raise WindowInvalid(f"A node may have {WINDOWS_PER_NODE_MAX} planned windows at most.")
        for other in standing:
            if starts_at < other.ends_at and other.starts_at < ends_at:
                raise WindowInvalid(
                    f"It overlaps the window that begins at {other.starts_at.isoformat()}; cancel that one first.",
                    field="starts_at",
                )
        window = MaintenanceWindow(
            id=new_id("win"),
            node_id=node_id,
            starts_at=starts_at,
            ends_at=ends_at,
            reason=reason,
            state=WindowState.PLANNED,
        )
        await window_repository.insert_window(session, window, now)
        await self.bus.publish(session, NodeFactsChanged(node_id=node_id))
        return window

    async def cancel_window(
        self, session: AsyncSession, node_id: str, window_id: str, *, owner_id: str | None
    ) -> None:
        """Undo a window: one that has not begun never was; one that has ends now. Harmless on one that is over.

        Raises NodeNotFound, WindowNotFound.
        """
        row = await self._locked(session, node_id, owner_id)
        window = await window_repository.window(session, node_id, window_id)
        if window is None:
            raise WindowNotFound("There is no such maintenance window of this node.")
        if window.state not in (WindowState.PLANNED, WindowState.ACTIVE):
            return
        await window_repository.change_window(session, window_id, WindowState.CANCELLED)
        if window.state is WindowState.ACTIVE and row.maintenance_until is not None:
            await self._window_over(session, node_id)
        else:
            await self.bus.publish(session, NodeFactsChanged(node_id=node_id))

    async def windows_before(self, session: AsyncSession, before: datetime) -> list[MaintenanceWindow]:
        """Planned windows that begin before an instant, the soonest first."""
        return await window_repository.planned_before(session, before)

    async def windows_of(
        self, session: AsyncSession, node_ids: Sequence[str]
    ) -> dict[str, list[MaintenanceWindow]]:
        """node → its planned and active windows, the soonest first."""
        found: dict[str, list[MaintenanceWindow]] = {node_id: [] for node_id in node_ids}
        for window in await window_repository.standing(session, node_ids):
            found[window.node_id].append(window)
        return found

    async def settle_windows(self, session: AsyncSession) -> int:
        """One window begins or ends, if it is time. Returns how many did (0 or 1)."""
        now = self.clock.now()
        node_id = await window_repository.due_node(session, now)
        row = None if node_id is None else await window_repository.lock_node(session, node_id)
        if node_id is None or row is None:
            return 0
        settled = 0
        for window in await window_repository.standing(session, [node_id]):
            if window.ends_at <= now:
                await window_repository.change_window(session, window.id, WindowState.OVER)
                if window.state is WindowState.ACTIVE and row.maintenance_until is not None:
                    await self._window_over(session, node_id)
                else:
                    await self.bus.publish(session, NodeFactsChanged(node_id=node_id))
                settled = 1
            elif window.state is WindowState.PLANNED and window.starts_at <= now:
                await window_repository.change_window(session, window.id, WindowState.ACTIVE)
                await self._window_begins(session, node_id, window, now)
                settled = 1
        return settled

    async def _window_begins(
        self, session: AsyncSession, node_id: str, window: MaintenanceWindow, now: datetime
    ) -> None:
        row = await window_repository.lock_node(session, node_id)
        if row is None or row.status == NodeStatus.REMOVED:
            return
        if row.duty in (Duty.DRAINING, Duty.MAINTENANCE):
            return  # its owner has it out of service anyway, and says himself when it is back
        said = window.reason or WINDOW_MAINTENANCE
        await self._assume(
            session,
            row,
            Duty.DRAINING,
            said,
            now,
            drain_deadline_at=now,
            maintenance_until=window.ends_at,
            **closed_downtime(row, now),
        )
        await self.bus.publish(
            session, NodeDrainRequested(node_id=node_id, reason=said, deadline_at=window.starts_at)
        )

    async def _window_over(self, session: AsyncSession, node_id: str) -> None:
        row = await window_repository.lock_node(session, node_id)
        if row is None:
            return
        now = self.clock.now()
        quarantined = row.quarantined_until is not None and row.quarantined_until > now
        duty = Duty.QUARANTINED if quarantined else Duty.IN_SERVICE
        await self._assume(
            session,
            row,
            duty,
            "Its quarantine goes on after its maintenance." if quarantined else None,
            now,
            maintenance_until=None,
        )
