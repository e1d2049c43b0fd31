"""Move a job off its node: notice with a deadline, final checkpoint, end there, go on elsewhere. See `notice`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gp4u_protocol.messages import DesiredRun
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import decisions, repository
from gp4u_server.catalyst.jobs.models import Job, Placement
from gp4u_server.catalyst.jobs.notice import (
    LiveRun,
    NoticeReason,
    preemptions_now,
    stop_due_at,
    stop_lead_s,
)
from gp4u_server.catalyst.jobs.transitions import db_now, facts_of
from gp4u_server.catalyst.jobs.types import EventKind, JobState, PlacementState
from gp4u_server.catalyst.jobs.use_cases import UseCases

MOVING = "moving"
"""What the agent is told as the reason of the stop."""


@dataclass(frozen=True)
class Moving(UseCases):
    """The failover loop's side. A move is a graceful stop followed by a placing at epoch + 1, never a second run: the
    job is placed again only when its node has said that the run ended, or can no longer hold its lease."""

    async def runs_on(self, session: AsyncSession, node_ids: Sequence[str]) -> list[LiveRun]:
        """What lives on these nodes and neither ends nor is stopping for its renter, in the order of job ids."""
        return await repository.runs_on(session, node_ids)

    async def under_notice(self, session: AsyncSession, limit: int = 200) -> list[LiveRun]:
        """Runs that have notice and were not told to stop yet: it may still be taken back."""
        return await repository.under_notice(session, limit)

    async def request_move(
        self,
        session: AsyncSession,
        job_id: str,
        node_id: str,
        why: str,
        *,
        reason: NoticeReason = NoticeReason.DRAIN,
        deadline_at: datetime | None = None,
    ) -> bool:
        """Give the job notice to leave this node by `deadline_at`; `why` is a sentence for its renter.

        Without a deadline it is told to stop at once. False: it is not there (any more), has notice already, or ends
        anyway.
        """
        job = await repository.lock_job(session, job_id)
        if job is None or JobState(job.state).is_final or job.stop_reason is not None:
            return False
        placement = await repository.lock_live_placement(session, job)
        if placement is None or placement.node_id != node_id or placement.moving_reason is not None:
            return False
        now = await db_now(session)
        cost_s = _cost_s(job)
        deadline_at = deadline_at or now + timedelta(seconds=stop_lead_s(cost_s))
        placement.moving_reason = why
        placement.notice_reason, placement.notice_at = reason.value, now
        placement.notice_deadline_at = deadline_at
        if reason is NoticeReason.PREEMPTION:
            job.preemptions = preemptions_now(job.preemptions, job.preempted_at, now)
            job.preempted_at = now
        due_at = stop_due_at(now, deadline_at, cost_s)
        await self._timeline.append(
            session,
            job,
            EventKind.MOVING,
            f"Moving away from {placement.node_name}",
            epoch=placement.epoch,
            node_name=placement.node_name,
            sentence=why,
            notice=reason.value,
            deadline_at=deadline_at.isoformat(),
        )
        if placement.state == PlacementState.OFFERED.value:
            # Nobody took it, so there is nothing to end there.
            verdict = decisions.after_moved(facts_of(job, placement))
            await self._transitions.end_placement(session, job, placement, verdict, now)
            await self._transitions.apply(session, job, verdict, now, exit_code=None)
        elif due_at <= now or placement.running_at is None:
            _tell_to_stop(placement, now)  # also what has not begun to run: it has nothing to finish
        else:
            placement.stop_due_at = due_at
        await self._transitions.node_changed(session, node_id)
        return True

    async def due_moves(self, session: AsyncSession, limit: int = 50) -> list[str]:
        """Jobs under notice that are to be told to stop now, the longest due first."""
        return await repository.due_moves(session, limit)

    async def begin_move(self, session: AsyncSession, job_id: str) -> bool:
        """Tell a job under notice to stop: its time is up. Answers whether it was."""
        job = await repository.lock_job(session, job_id)
        placement = None if job is None else await repository.lock_live_placement(session, job)
        if job is None or placement is None or placement.stop_due_at is None:
            return False
        if job.stop_reason is None:
            _tell_to_stop(placement, await db_now(session))
            await self._transitions.node_changed(session, placement.node_id)
        placement.stop_due_at = None
        await session.flush()
        return True

    async def withdraw_notice(self, session: AsyncSession, job_id: str, why: str) -> bool:
        """The job may stay after all. False: it has no notice, or was told to stop already and goes."""
        job = await repository.lock_job(session, job_id)
        placement = None if job is None else await repository.lock_live_placement(session, job)
        if job is None or placement is None or placement.stop_due_at is None:
            return False
        if placement.notice_reason == NoticeReason.PREEMPTION.value:
            job.preemptions = max(0, job.preemptions - 1)
        placement.moving_reason = placement.notice_reason = placement.notice_at = None
        placement.notice_deadline_at = placement.stop_due_at = None
        await self._timeline.append(
            session,
            job,
            EventKind.NODE_BACK,
            f"Stays on {placement.node_name}",
            epoch=placement.epoch,
            node_name=placement.node_name,
            sentence=why,
        )
        await self._transitions.node_changed(session, placement.node_id)
        return True


def _tell_to_stop(placement: Placement, now: datetime) -> None:
    placement.desired = DesiredRun.STOP.value
    placement.stop_reason = MOVING
    placement.stop_requested_at = now
    placement.stop_due_at = None


def _cost_s(job: Job) -> float | None:
    return None if job.checkpoint_cost_ms is None else job.checkpoint_cost_ms / 1000
