"""What becomes of a node's placements when its lease wavers, comes back or is lost."""

from dataclasses import dataclass
from datetime import datetime

from gp4u_protocol.messages import Progress
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import coverage, decisions
from gp4u_server.catalyst.jobs.events import LeaseInterrupted, LeaseRestored
from gp4u_server.catalyst.jobs.transitions import (
    WORK_CHANNEL,
    db_now,
    facts_of,
    ids_of,
    ms_between,
    notify,
)
from gp4u_server.catalyst.jobs.types import EventKind
from gp4u_server.catalyst.jobs.use_cases import UseCases


@dataclass(frozen=True)
class Leases(UseCases):
    """Health's side. Health holds the locks in this order: jobs by id, placements, node."""

    async def lock_on_node(self, session: AsyncSession, node_id: str) -> None:
        """Lock what lives on a node. Take this before the node's own row: jobs, placements, node is the lock order."""
        await self._lock_live_on_node(session, node_id)

    async def record_lease_interrupted(
        self, session: AsyncSession, node_id: str, silent_s: float, *, ours: bool = False
    ) -> None:
        """The node's beats went missing `silent_s` ago: its running time is confirmed only until then.

        `ours`: the node did nothing wrong, the platform could confirm nothing.
        """
        now = await db_now(session)
        for job, placement in await self._lock_live_on_node(session, node_id):
            if placement.interrupted_at is not None or placement.claimed_at is None:
                continue
            covered_until = coverage.covered_until(now, silent_s, placement.metered_from)
            placement.interrupted_at = covered_until
            running = placement.metered_from is not None
            self._transitions.close_segment(job, placement, covered_until)
            await self._timeline.append(
                session,
                job,
                EventKind.NODE_SUSPECT,
                "The platform could not confirm the lease"
                if ours
                else f"{placement.node_name} does not answer",
                epoch=placement.epoch,
                ms=int(silent_s * 1000),
                node_name=placement.node_name,
            )
            if running:
                await self.bus.publish(
                    session,
                    LeaseInterrupted(**ids_of(job, placement), covered_until=covered_until),
                )

    async def record_lease_restored(self, session: AsyncSession, node_id: str, bridge_s: float) -> None:
        """The node is back and was not replaced. Within `bridge_s` of silence its lease never ran out, so that
        time was run and counts; after a longer one the job was frozen, and counting goes on from now."""
        now = await db_now(session)
        for job, placement in await self._lock_live_on_node(session, node_id):
            if placement.interrupted_at is None:
                continue
            silent_ms = ms_between(placement.interrupted_at, now)
            at = coverage.counts_again_at(placement.interrupted_at, now, bridge_s)
            placement.interrupted_at = None
            running = placement.running_at is not None
            if running:
                placement.metered_from = at
            await self._timeline.append(
                session,
                job,
                EventKind.NODE_BACK,
                f"{placement.node_name} is back; nothing moved",
                epoch=placement.epoch,
                ms=silent_ms,
                node_name=placement.node_name,
            )
            if running:
                await self.bus.publish(session, LeaseRestored(**ids_of(job, placement), at=at))

    async def record_node_lost(
        self,
        session: AsyncSession,
        node_id: str,
        silent_s: float,
        progress: dict[str, Progress] | None = None,
    ) -> list[str]:
        """The node's lease ran out: its placements are over, and nothing is accepted from them any more.

        `progress` is the last that the gateway heard of each. Writes rows of jobs and placements only. What each loss
        means for GPUs and money is settled afterwards, in one transaction a job (`Losses.settle_loss`), so that no
        job holds back another; until then the job is not placed again. Returns the jobs.
        """
        now = await db_now(session)
        lost = []
        for job, placement in await self._lock_live_on_node(session, node_id):
            last_beat = coverage.last_beat_at(
                now,
                silent_s,
                interrupted_at=placement.interrupted_at,
                since=placement.metered_from or placement.created_at,
            )
            if progress and (heard := progress.get(placement.id)):
                job.progress = heard.model_dump()
            job.last_beat_at, job.lost_at = last_beat, now
            await self._timeline.append(
                session,
                job,
                EventKind.NODE_LOST,
                f"{placement.node_name} is lost",
                epoch=placement.epoch,
                ms=ms_between(last_beat, now),
                node_name=placement.node_name,
                step=(job.progress or {}).get("step"),
                saved_until=_iso(placement.checkpoint_at or placement.running_at),
            )
            verdict = decisions.after_lost(facts_of(job, placement))
            self._transitions.close(job, placement, verdict, last_beat)
            placement.settle_at, job.next_attempt_at = now, None
            if not verdict.state.is_final:  # its end is told with its bill
                job.state = verdict.state.value
            await self._transitions.node_changed(session, placement.node_id)
            lost.append(job.id)
        if lost:
            await notify(session, WORK_CHANNEL, "")
        return lost


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
