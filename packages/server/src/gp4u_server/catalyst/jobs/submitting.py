"""Submit a job; look at it; lock it."""

from dataclasses import dataclass
from datetime import datetime

from gp4u_protocol.job_spec import JobSpec
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import repository
from gp4u_server.catalyst.jobs.models import Job
from gp4u_server.catalyst.jobs.transitions import WORK_CHANNEL, db_now, notify
from gp4u_server.catalyst.jobs.types import EventKind, JobState
from gp4u_server.catalyst.jobs.use_cases import UseCases, not_found
from gp4u_server.catalyst.jobs.views import JobView, PlacementView, job_view, placement_view
from gp4u_server.kit.ids import new_id


@dataclass(frozen=True)
class Submitting(UseCases):
    """The renter's side, and what everybody reads."""

    async def create(
        self,
        session: AsyncSession,
        renter_id: str,
        spec: JobSpec,
        offer_id: str | None = None,
        *,
        start_from: str | None = None,
    ) -> JobView:
        """Queue a job; it is due at once. From the commit on it will reach a final state.

        `start_from`: a checkpoint of another job that it begins with. It counts as number 0 of epoch 0, so that any
        checkpoint of its own is newer.
        """
        job_id = new_id("job")
        job = Job(
            id=job_id,
            renter_id=renter_id,
            name=spec.name,
            spec=spec.model_dump(mode="json"),
            offer_id=offer_id,
            state=JobState.QUEUED.value,
            data_key=self.data_keys.create(job_id),
            next_attempt_at=await db_now(session),
            checkpoint_id=start_from,
            checkpoint_epoch=None if start_from is None else 0,
            checkpoint_seq=None if start_from is None else 0,
        )
        session.add(job)
        await session.flush()
        await session.refresh(job)
        await self._timeline.append(session, job, EventKind.QUEUED, "Queued", starts_from=start_from)
        await notify(session, WORK_CHANNEL, "")
        return job_view(job)

    async def get(self, session: AsyncSession, job_id: str) -> JobView:
        """One job, whoever asks. Raises JobNotFound."""
        job = await repository.get_job(session, job_id)
        if job is None:
            raise not_found(job_id)
        return job_view(job)

    async def data_key(self, session: AsyncSession, job_id: str) -> bytes:
        """The key of the job's checkpoints, for its renter. Raises JobNotFound."""
        job = await repository.get_job(session, job_id)
        if job is None:
            raise not_found(job_id)
        return self.data_keys.unwrap(job.id, job.data_key)

    async def lock(self, session: AsyncSession, job_id: str, *, skip_locked: bool = False) -> JobView | None:
        """The job, locked for this transaction; None when it is missing or (with `skip_locked`) somebody has it."""
        job = await repository.lock_job(session, job_id, skip_locked=skip_locked)
        return None if job is None else job_view(job)

    async def lock_job(self, session: AsyncSession, job_id: str, *, skip_locked: bool = False) -> bool:
        """Lock the job's row until the transaction ends: whoever changes several rows of a job begins here. False only with
        `skip_locked`, when somebody has it."""
        if await repository.lock_job(session, job_id, skip_locked=skip_locked) is not None:
            return True
        return not skip_locked or await repository.get_job(session, job_id) is None

    async def folder_wanted_at(
        self, session: AsyncSession, renter_id: str, upload_id: str
    ) -> datetime | None:
        """When a job of this renter last needed a folder: now while one of them is open, else the last one's end. None
        when no job was ever sent with it."""
        return await repository.folder_wanted_at(session, renter_id, upload_id)

    async def newest_placement(self, session: AsyncSession, job_id: str) -> PlacementView | None:
        """The placement with the highest epoch, live or ended."""
        found = (await repository.newest_placements(session, [job_id])).get(job_id)
        if found is None:
            return None
        job = await repository.get_job(session, job_id)
        assert job is not None
        return placement_view(found[0], job.renter_id)
