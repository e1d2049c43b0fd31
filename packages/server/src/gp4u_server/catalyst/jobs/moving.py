"""Move a job off a node that is taken out of service: notice, final checkpoint, end there, go on elsewhere."""

from dataclasses import dataclass

from gp4u_protocol.messages import DesiredRun
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import decisions, repository
from gp4u_server.catalyst.jobs.transitions import db_now, facts_of
from gp4u_server.catalyst.jobs.types import EventKind, JobState, PlacementState
from gp4u_server.catalyst.jobs.use_cases import UseCases

MOVING = "moving"
"""What the agent is told as the reason of the stop."""


@dataclass(frozen=True)
class Moving(UseCases):
    """The failover loop's side. A move is a graceful stop followed by a placing at epoch + 1, never a second run: the
    job is placed again only when its node has said that the run ended, or can no longer hold its lease."""

    async def to_move(self, session: AsyncSession, node_id: str, limit: int = 50) -> list[str]:
        """Jobs that live on a node and have not been told to leave it."""
        return await repository.to_move(session, node_id, limit)

    async def request_move(self, session: AsyncSession, job_id: str, node_id: str, why: str) -> bool:
        """Give the job notice to leave this node; `why` is a sentence for its renter. False: it is not there (any more),
        is moving already, or ends anyway."""
        job = await repository.lock_job(session, job_id)
        if job is None or JobState(job.state).is_final or job.stop_reason is not None:
            return False
        placement = await repository.lock_live_placement(session, job)
        if placement is None or placement.node_id != node_id or placement.moving_reason is not None:
            return False
        placement.moving_reason = why
        await self._timeline.append(
            session,
            job,
            EventKind.MOVING,
            f"Moving away from {placement.node_name}",
            epoch=placement.epoch,
            node_name=placement.node_name,
            sentence=why,
        )
        if (
            placement.state == PlacementState.OFFERED.value
        ):  # nobody took it, so there is nothing to end there
            at = await db_now(session)
            verdict = decisions.after_moved(facts_of(job, placement))
            await self._transitions.end_placement(session, job, placement, verdict, at)
            await self._transitions.apply(session, job, verdict, at, exit_code=None)
        else:
            placement.desired = DesiredRun.STOP.value
            placement.stop_reason = MOVING
            placement.stop_requested_at = await db_now(session)
        await self._transitions.node_changed(session, node_id)
        return True
