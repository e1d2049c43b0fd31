"""Settle what a lost run left open: its GPUs and its bill, and whether the job goes on."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import decisions, repository
from gp4u_server.catalyst.jobs.models import Job
from gp4u_server.catalyst.jobs.transitions import db_now, facts_of
from gp4u_server.catalyst.jobs.types import JobState
from gp4u_server.catalyst.jobs.use_cases import UseCases


@dataclass(frozen=True)
class Losses(UseCases):
    """The failover loop's side. A lost node may have run many jobs; each is settled in a transaction of its own."""

    async def unsettled_losses(self, session: AsyncSession, limit: int = 50) -> list[str]:
        """Jobs whose lost run is not settled, the oldest first."""
        return await repository.unsettled_jobs(session, limit)

    async def settle_loss(self, session: AsyncSession, job_id: str) -> bool:
        """Give the lost run's GPUs and unsaved work back, then let the job be placed again, or end it.

        Harmless when there is nothing to settle; answers whether there was.
        """
        job = await repository.lock_job(session, job_id)
        return job is not None and await self._settle(session, job)

    async def put_off_settling(self, session: AsyncSession, job_id: str, pause_s: float) -> None:
        """Settling failed: try again after `pause_s`, so that others have their turn."""
        await repository.put_off_settling(session, job_id, pause_s)

    async def _settle(self, session: AsyncSession, job: Job) -> bool:
        placement = await repository.lock_unsettled_placement(session, job)
        if placement is None:
            return False
        placement.settle_at = None
        if JobState(job.state).is_final:
            await self._transitions.tell_end(session, job, placement)
            return True
        now = await db_now(session)
        verdict = decisions.after_lost(facts_of(job, placement))
        self._transitions.enter(job, verdict, now)
        await self._transitions.tell_end(session, job, placement)
        await self._transitions.apply(session, job, verdict, now, exit_code=None)
        return True
