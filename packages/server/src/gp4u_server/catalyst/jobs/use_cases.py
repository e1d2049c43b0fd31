"""What every use case of jobs works with, and how each gets hold of its rows."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import fencing, repository
from gp4u_server.catalyst.jobs.data_keys import DataKeys
from gp4u_server.catalyst.jobs.errors import JobNotFound, StaleEpoch
from gp4u_server.catalyst.jobs.models import Job, Placement
from gp4u_server.catalyst.jobs.ports import NodeDesires
from gp4u_server.catalyst.jobs.timeline import Timeline
from gp4u_server.catalyst.jobs.transitions import Transitions
from gp4u_server.catalyst.jobs.types import PlacementState
from gp4u_server.foundation.events import EventBus


@dataclass(frozen=True)
class UseCases:
    """Base of the use cases; `service.JobService` joins them."""

    bus: EventBus
    data_keys: DataKeys
    nodes: NodeDesires

    @property
    def _timeline(self) -> Timeline:
        return Timeline(self.bus)

    @property
    def _transitions(self) -> Transitions:
        return Transitions(self.bus, self.nodes)

    @staticmethod
    async def _locked(session: AsyncSession, job_id: str) -> Job:
        """The job's row, locked. Raises JobNotFound."""
        job = await repository.lock_job(session, job_id)
        if job is None:
            raise not_found(job_id)
        return job

    @staticmethod
    async def _current(session: AsyncSession, placement_id: str, epoch: int) -> tuple[Job, Placement]:
        """A live placement of the job's own epoch with its job, both locked. Raises StaleEpoch."""
        found = await repository.lock_placement(session, placement_id)
        if found is None:
            raise stale()
        job, placement = found
        ended = placement.state == PlacementState.ENDED.value
        if not fencing.is_current(epoch, placement_epoch=placement.epoch, job_epoch=job.epoch, ended=ended):
            raise stale()
        return job, placement

    @staticmethod
    async def _lock_live_on_node(session: AsyncSession, node_id: str) -> list[tuple[Job, Placement]]:
        """Live placements of the node with their jobs, locked job by job in the order of their ids."""
        locked = []
        found = await repository.live_on_node(session, node_id)
        for placement_id in [row.id for _, row in sorted(found, key=lambda pair: pair[0].id)]:
            pair = await repository.lock_placement(session, placement_id)
            if pair is not None and pair[1].state != PlacementState.ENDED.value:
                locked.append(pair)
        return locked


def not_found(job_id: str) -> JobNotFound:
    """The same for a missing job and for another renter's."""
    return JobNotFound(f"There is no job {job_id} among yours.")


def stale() -> StaleEpoch:
    """For whoever writes under an epoch that is over."""
    return StaleEpoch("This run of the job is over: another placement owns it, or it has ended.")
