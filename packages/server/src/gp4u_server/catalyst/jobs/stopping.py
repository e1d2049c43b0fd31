"""End a job: because somebody wants it, because a limit is reached, because nothing came of it."""

from dataclasses import dataclass
from datetime import datetime

from gp4u_protocol.job_spec import JobSpec
from gp4u_protocol.messages import DesiredRun
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import decisions, repository
from gp4u_server.catalyst.jobs.losses import Losses
from gp4u_server.catalyst.jobs.models import Job, Placement
from gp4u_server.catalyst.jobs.notice import grace_s
from gp4u_server.catalyst.jobs.transitions import WORK_CHANNEL, db_now, facts_of, notify
from gp4u_server.catalyst.jobs.types import EventKind, JobState, Outcome, PlacementState
from gp4u_server.catalyst.jobs.views import JobView, job_view


@dataclass(frozen=True)
class Stopping(Losses):
    """The renter's stop, billing's stop, and the limits loop."""

    async def request_stop(self, session: AsyncSession, job_id: str, reason: str) -> JobView:
        """End the job gracefully: at once when nothing of it was claimed, else after a final checkpoint.

        The first reason stays. Harmless on a job that has ended. Locks the job's node: whoever holds accounts already
        uses `ask_stop`. Raises JobNotFound.
        """
        job = await self._locked(session, job_id)
        if not JobState(job.state).is_final and job.stop_reason is None:
            job.stop_reason = reason
            await self._begin_stop(session, job, reason)
        return job_view(job)

    async def ask_stop(self, session: AsyncSession, job_id: str, reason: str) -> None:
        """Like `request_stop`, from inside a bill: the stop is noted on the job's row and begins a moment later in a
        transaction of its own (`begin_asked_stops`), because this one holds accounts and may not wait for a node.

        Raises JobNotFound.
        """
        job = await self._locked(session, job_id)
        if JobState(job.state).is_final or job.stop_reason is not None:
            return
        job.stop_reason, job.stop_asked_at = reason, await db_now(session)
        await session.flush()
        await notify(session, WORK_CHANNEL, "")

    async def asked_stops(self, session: AsyncSession, limit: int = 50) -> list[str]:
        """Jobs whose stop was asked for and has not begun, the oldest first."""
        return await repository.asked_stops(session, limit)

    async def begin_asked_stop(self, session: AsyncSession, job_id: str) -> bool:
        """Begin a stop that `ask_stop` noted. Answers whether there was one."""
        job = await repository.lock_job(session, job_id)
        if job is None or job.stop_asked_at is None:
            return False
        job.stop_asked_at = None
        if not JobState(job.state).is_final and job.stop_reason is not None:
            await self._begin_stop(session, job, job.stop_reason)
        return True

    async def put_off_asked_stop(self, session: AsyncSession, job_id: str, pause_s: float) -> None:
        """Beginning it failed: try again after `pause_s`, so that others have their turn."""
        await repository.put_off_asked_stop(session, job_id, pause_s)

    async def stop_overdue(self, session: AsyncSession, limit: int = 50) -> int:
        """End jobs that reached their longest duration or their deadline, or never got to run. Answers how many."""
        job_ids = await repository.overdue_jobs(session, decisions.QUEUE_WAIT_S_MAX, limit)
        for job_id in sorted(job_ids):
            job = await self._locked(session, job_id)
            spec = JobSpec.model_validate(job.spec)
            reason = decisions.overdue(
                await db_now(session),
                created_at=job.created_at,
                started_at=job.started_at,
                duration_s_max=spec.duration_s_max,
                deadline_s=spec.failover.deadline_s,
                is_placed=job.state == JobState.STARTING.value,
            )
            if JobState(job.state).is_final or job.stop_reason is not None or reason is None:
                continue
            if reason in ("never_started", "no_capacity"):
                await self._give_up(session, job, reason)
            else:
                job.stop_reason = reason
                await self._begin_stop(session, job, reason)
        return len(job_ids)

    async def fail_unclaimed(self, session: AsyncSession, after_s: float, limit: int = 50) -> int:
        """Take placements away from nodes that do not claim them."""
        failed = 0
        for placement_id in sorted(await repository.unclaimed_placements(session, after_s, limit)):
            found = await repository.lock_placement(session, placement_id)
            if found is None or found[1].state != PlacementState.OFFERED.value:
                continue
            await self._transitions.start_failed(session, *found, "not_claimed", None)
            failed += 1
        return failed

    async def end_overdue_stops(self, session: AsyncSession, limit: int = 50) -> int:
        """End placements whose node does not confirm a stop; whatever it still runs is no longer wanted there."""
        ended = 0
        for placement_id in sorted(await repository.overdue_stops(session, decisions.STOP_OVERDUE_S, limit)):
            found = await repository.lock_placement(session, placement_id)
            if found is None or found[1].state == PlacementState.ENDED.value:
                continue
            job, placement = found
            facts, at = facts_of(job, placement), await db_now(session)
            if facts.moving and facts.stop_reason is None:
                verdict = decisions.after_moved(facts, confirmed=False)
            else:
                verdict = decisions.after_stopped(facts, placement.stop_reason)
            await self._transitions.end_placement(
                session, job, placement, verdict, at, over_s=_past_grace_s(job, placement, at)
            )
            await self._transitions.apply(session, job, verdict, at, exit_code=None)
            await self._transitions.node_changed(session, placement.node_id)
            ended += 1
        return ended

    async def _begin_stop(self, session: AsyncSession, job: Job, reason: str) -> None:
        placement = await repository.lock_live_placement(session, job)
        if placement is not None and placement.state != PlacementState.OFFERED.value:
            job.state = JobState.STOPPING.value
            placement.desired = DesiredRun.STOP.value
            placement.stop_reason = reason
            placement.stop_requested_at = placement.stop_requested_at or await db_now(session)
            await self._timeline.append(
                session,
                job,
                EventKind.STOPPING,
                "Stopping",
                epoch=job.epoch,
                reason=reason,
                sentence=decisions.SENTENCES.get(reason),
            )
            await self._transitions.node_changed(session, placement.node_id)
            return
        if await self._settle(session, job):
            return  # its run was lost, and with a reason to stop it has ended there
        verdict = decisions.after_stopped(facts_of(job), reason)
        await self._end_now(session, job, verdict)

    async def _give_up(self, session: AsyncSession, job: Job, reason: str) -> None:
        await self._settle(session, job)
        verdict = decisions.Verdict(Outcome.STOPPED, JobState.FAILED, reason, decisions.SENTENCES[reason])
        await self._end_now(session, job, verdict)

    async def _end_now(self, session: AsyncSession, job: Job, verdict: decisions.Verdict) -> None:
        placement = await repository.lock_live_placement(session, job)
        at = await db_now(session)
        if placement is not None:
            await self._transitions.end_placement(session, job, placement, verdict, at)
            await self._transitions.node_changed(session, placement.node_id)
        await self._transitions.apply(session, job, verdict, at, exit_code=None)


def _past_grace_s(job: Job, placement: Placement, at: datetime) -> float:
    """Seconds since it had to be over. Nobody pays for the time in which its node only did not say so."""
    if placement.stop_requested_at is None:
        return 0.0
    cost_s = None if job.checkpoint_cost_ms is None else job.checkpoint_cost_ms / 1000
    grace = grace_s(placement.stop_requested_at, placement.notice_deadline_at, cost_s)
    return max(0.0, (at - placement.stop_requested_at).total_seconds() - grace)
