"""What makes room for jobs that wait: a node that comes (back) online, is verified, or has a run less."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.failover import repository
from gp4u_server.catalyst.jobs.events import PlacementEnded
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.transitions import WORK_CHANNEL, notify
from gp4u_server.foundation.events import EventBus
from gp4u_server.nodes.events import (
    DevicesToLeave,
    NodeDrainRequested,
    NodeDutyChanged,
    NodeFactsChanged,
    NodeLivenessChanged,
)
from gp4u_server.nodes.types import Duty, Liveness


@dataclass(frozen=True)
class CapacityHandlers:
    """Writes a signal in the transaction of the fact. `CapacityLoop` reads it after the commit: only then can whoever
    is woken see what came free, and no row of a waiting job is locked in a transaction that is about something else."""

    jobs: JobService

    def subscribe(self, bus: EventBus) -> None:
        """Register everything (called by bootstrap)."""
        bus.subscribe(NodeLivenessChanged, self.liveness_changed, self.livenesses_changed)
        bus.subscribe(NodeFactsChanged, self.facts_changed)
        bus.subscribe(NodeDutyChanged, self.duty_changed)
        bus.subscribe(NodeDrainRequested, self.drain_requested)
        bus.subscribe(DevicesToLeave, self.devices_to_leave)
        bus.subscribe(PlacementEnded, self.placement_ended)

    async def liveness_changed(self, session: AsyncSession, event: NodeLivenessChanged) -> None:
        """The node is there (again)."""
        if event.liveness is Liveness.ONLINE:
            await self._signal(session, event.node_id)

    async def livenesses_changed(self, session: AsyncSession, events: Sequence[NodeLivenessChanged]) -> None:
        """The same of several nodes."""
        there = [event.node_id for event in events if event.liveness is Liveness.ONLINE]
        if there:
            await repository.signal_capacities(session, there)
            await notify(session, WORK_CHANNEL, "")

    async def facts_changed(self, session: AsyncSession, event: NodeFactsChanged) -> None:
        """The node was verified, or has other hardware."""
        await self._signal(session, event.node_id)

    async def duty_changed(self, session: AsyncSession, event: NodeDutyChanged) -> None:
        """The node is back in service."""
        if event.duty is Duty.IN_SERVICE:
            await self._signal(session, event.node_id)

    async def drain_requested(self, session: AsyncSession, event: NodeDrainRequested) -> None:
        """Its jobs have to leave: `MovesLoop` sees to it. This transaction holds the node, so it may lock no job."""
        await notify(session, WORK_CHANNEL, "")

    async def devices_to_leave(self, session: AsyncSession, event: DevicesToLeave) -> None:
        """Jobs hold GPUs that failed or are kept for others: `MovesLoop` sees to it, as for a drain."""
        await notify(session, WORK_CHANNEL, "")

    async def placement_ended(self, session: AsyncSession, event: PlacementEnded) -> None:
        """Its GPUs are free."""
        node_id = await self.jobs.node_of_placement(session, event.placement_id)
        if node_id is not None:
            await self._signal(session, node_id)

    @staticmethod
    async def _signal(session: AsyncSession, node_id: str) -> None:
        await repository.signal_capacity(session, node_id)
        await notify(session, WORK_CHANNEL, "")
