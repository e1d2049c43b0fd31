"""What a renter decides about checkpoints: which are kept whatever the rule says, and which another job begins with."""

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.checkpoints import collection_rows, repository
from gp4u_server.catalyst.checkpoints.errors import CheckpointNotFound, TooManyPinned
from gp4u_server.catalyst.checkpoints.models import Checkpoint, Fork
from gp4u_server.catalyst.checkpoints.service import view_of
from gp4u_server.catalyst.checkpoints.types import CheckpointView
from gp4u_server.catalyst.jobs.errors import JobNotFound
from gp4u_server.catalyst.jobs.views import JobView

PINNED_MAX = 100


class LockedJobs(Protocol):
    """What choosing asks of `catalyst.jobs` (its JobService has it)."""

    async def lock(
        self, session: AsyncSession, job_id: str, *, skip_locked: bool = False
    ) -> JobView | None: ...


@dataclass(frozen=True)
class CheckpointChoices:
    """Pins and forks. Each locks the checkpoint's job, so that the collection is before or after it, never beside it."""

    jobs: LockedJobs

    async def pin(
        self, session: AsyncSession, renter_id: str, job_id: str, checkpoint_id: str
    ) -> CheckpointView:
        """Keep a checkpoint until it is unpinned. Raises JobNotFound, CheckpointNotFound, TooManyPinned."""
        row = await self._own(session, renter_id, job_id, checkpoint_id)
        if row.pinned_at is None:
            if await repository.count_pinned(session, job_id) >= PINNED_MAX:
                raise TooManyPinned(f"A job has at most {PINNED_MAX} pinned checkpoints; unpin one first.")
            row.pinned_at = func.now()
            await session.flush()
            await session.refresh(row)
        return view_of(row)

    async def unpin(
        self, session: AsyncSession, renter_id: str, job_id: str, checkpoint_id: str
    ) -> CheckpointView:
        """Let the job's rule decide about a checkpoint again. Raises JobNotFound, CheckpointNotFound."""
        row = await self._own(session, renter_id, job_id, checkpoint_id)
        row.pinned_at = None
        await collection_rows.look_again(session, job_id)
        await session.flush()
        return view_of(row)

    async def choose_start(self, session: AsyncSession, renter_id: str, checkpoint_id: str) -> CheckpointView:
        """A checkpoint of a job of this renter, which stays until the transaction ends. Raises CheckpointNotFound."""
        found = await repository.find_anywhere(session, checkpoint_id)
        if found is not None:
            try:
                return view_of(await self._own(session, renter_id, found.job_id, checkpoint_id))
            except JobNotFound:
                pass
        raise CheckpointNotFound(f"There is no checkpoint {checkpoint_id} of a job of yours.")

    async def record_fork(self, session: AsyncSession, job_id: str, start: CheckpointView) -> None:
        """The new job begins with `start` (from `choose_start`, in the same transaction)."""
        session.add(Fork(job_id=job_id, origin_job_id=start.job_id, checkpoint_id=start.id))
        await session.flush()

    async def _own(
        self, session: AsyncSession, renter_id: str, job_id: str, checkpoint_id: str
    ) -> Checkpoint:
        job = await self.jobs.lock(session, job_id)
        if job is None or job.renter_id != renter_id:
            raise JobNotFound(f"There is no job {job_id} among yours.")
        row = await repository.find(session, job_id, checkpoint_id)
        if row is None:
            raise CheckpointNotFound(f"There is no checkpoint {checkpoint_id} of this job.")
        return row
