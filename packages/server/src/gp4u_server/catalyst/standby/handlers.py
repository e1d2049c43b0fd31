"""What standbys do when jobs and nodes say something. Runs in the speaker's transaction; touches no account."""

from collections.abc import Sequence
from dataclasses import dataclass

from gp4u_protocol.job_spec import Protection
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.events import CheckpointSaved, JobEnded, PlacementEnded, PlacementRan
from gp4u_server.catalyst.jobs.transitions import NODE_DESIRED_CHANNEL, db_now, notify
from gp4u_server.catalyst.standby import repository
from gp4u_server.catalyst.standby.service import StandbyService
from gp4u_server.catalyst.standby.succession import STANDBY_CHANNEL
from gp4u_server.catalyst.standby.types import StandbyState
from gp4u_server.foundation.events import EventBus
from gp4u_server.nodes.events import NodeDrainRequested, NodeDutyChanged, NodeLivenessChanged


@dataclass(frozen=True)
class StandbyHandlers:
    """Subscribers. `bootstrap` calls `subscribe` once."""

    standbys: StandbyService

    def subscribe(self, bus: EventBus) -> None:
        """Register every handler."""
        bus.subscribe(PlacementRan, self.placement_ran)
        bus.subscribe(PlacementEnded, self.placement_ended)
        bus.subscribe(JobEnded, self.job_ended)
        bus.subscribe(CheckpointSaved, self.checkpoint_saved)
        bus.subscribe(NodeLivenessChanged, self.node_changed, self.nodes_changed)
        bus.subscribe(NodeDutyChanged, self.node_changed)
        bus.subscribe(NodeDrainRequested, self.node_changed)

    async def placement_ran(self, session: AsyncSession, event: PlacementRan) -> None:
        """A hot job runs (again): it needs a standby."""
        job = await self.standbys.jobs.get(session, event.job_id)
        if job.spec.protection is Protection.HOT:
            await self.standbys.look_soon(session, event.job_id, event.at)

    async def placement_ended(self, session: AsyncSession, event: PlacementEnded) -> None:
        """Beside what does not run nobody stands by: time counts until the last proof. The node is still the first choice."""
        live = await repository.live_of(session, event.job_id)
        if live is not None and live.state == StandbyState.READY.value and live.proven_at is not None:
            await self.standbys.money.not_ready(session, live.id, min(live.proven_at, event.at))

    async def job_ended(self, session: AsyncSession, event: JobEnded) -> None:
        """No standby is needed any more."""
        if await repository.live_of(session, event.job_id) is not None:
            await self.standbys.look_soon(session, event.job_id, event.at)

    async def checkpoint_saved(self, session: AsyncSession, event: CheckpointSaved) -> None:
        """There is something new to fetch."""
        node_id = await repository.fall_behind(session, event.job_id, event.at)
        if node_id is not None:
            await notify(session, NODE_DESIRED_CHANNEL, node_id)

    async def node_changed(
        self, session: AsyncSession, event: NodeLivenessChanged | NodeDutyChanged | NodeDrainRequested
    ) -> None:
        """A node wavers, is back, or takes no jobs: look at whom it stands by for. Its own row is locked here, so no job is."""
        await self._watch(session, [event.node_id])

    async def nodes_changed(self, session: AsyncSession, events: Sequence[NodeLivenessChanged]) -> None:
        """The same of several nodes."""
        await self._watch(session, [event.node_id for event in events])

    @staticmethod
    async def _watch(session: AsyncSession, node_ids: Sequence[str]) -> None:
        if await repository.watch_nodes(session, node_ids, await db_now(session)):
            await notify(session, STANDBY_CHANNEL, "")
