"""What a node says about its placements: claims, reports, output, checkpoints, progress."""

from collections.abc import Sequence
from dataclasses import dataclass

from gp4u_protocol.job_spec import Protection
from gp4u_protocol.messages import ActualState, PlacementSpec, Progress, Report, ReportAck
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import decisions, fencing, repository
from gp4u_server.catalyst.jobs.events import CheckpointSaved
from gp4u_server.catalyst.jobs.logs import append_log
from gp4u_server.catalyst.jobs.losses import Losses
from gp4u_server.catalyst.jobs.models import Job, Placement
from gp4u_server.catalyst.jobs.notice import smoothed_cost_ms
from gp4u_server.catalyst.jobs.timeline import CHECKPOINTS_SHOWN_ALL
from gp4u_server.catalyst.jobs.transitions import WORK_CHANNEL, db_now, ms_between, notify
from gp4u_server.catalyst.jobs.types import EventKind, Outcome, PlacementState
from gp4u_server.catalyst.jobs.use_cases import stale
from gp4u_server.catalyst.jobs.views import PlacementView, placement_spec, placement_view


@dataclass(frozen=True)
class LeasedPlacement:
    """A live placement of a node, as the gateway needs it. `claimed`: it holds a lease that beats may renew."""

    spec: PlacementSpec
    renter_id: str
    claimed: bool
    wants_first_step: bool
    step_before: int | None
    interrupted: bool = False
    """Its node did not answer; its running time is confirmed only until then."""


@dataclass(frozen=True)
class Reports(Losses):
    """The node's side. Every write is fenced by the placement's epoch."""

    async def live_on_node(self, session: AsyncSession, node_id: str) -> list[LeasedPlacement]:
        """What the node should run now: the body of `Desired`."""
        return (await self.live_on_nodes(session, [node_id]))[node_id]

    async def live_on_nodes(
        self, session: AsyncSession, node_ids: Sequence[str]
    ) -> dict[str, list[LeasedPlacement]]:
        """What each of these nodes should run now."""
        now = await db_now(session)
        found: dict[str, list[LeasedPlacement]] = {node_id: [] for node_id in node_ids}
        for job, placement in await repository.live_on_nodes(session, node_ids):
            found[placement.node_id].append(
                LeasedPlacement(
                    spec=placement_spec(job, placement, now),
                    renter_id=job.renter_id,
                    claimed=placement.state != PlacementState.OFFERED.value,
                    wants_first_step=placement.recovery is not None
                    and "first_step_ms" not in placement.recovery,
                    step_before=(job.progress or {}).get("step"),
                    interrupted=placement.interrupted_at is not None,
                )
            )
        return found

    async def record_claim(self, session: AsyncSession, node_id: str, placement_id: str, epoch: int) -> bytes:
        """The node takes the placement. Returns the job's data key; again on every repetition.

        Raises StaleEpoch when the epoch is not current, the placement is over, or it is another node's.
        """
        job, placement = await self._current(session, placement_id, epoch)
        if placement.node_id != node_id:
            raise stale()
        if placement.state == PlacementState.OFFERED.value:
            placement.state = PlacementState.CLAIMED.value
            placement.claimed_at = await db_now(session)
        return self.data_keys.unwrap(job.id, job.data_key)

    async def record_report(
        self, session: AsyncSession, node_id: str, report: Report, *, over_s: float = 0.0
    ) -> ReportAck:
        """Apply a report once. Repetitions are acknowledged without effect; another epoch's are `stale`.

        `over_s`: how long ago its process had ended, by what heartbeats said and when: nobody pays for the time since,
        whatever kept the last checkpoint or this report from us.
        """
        found = await repository.lock_placement(session, report.placement_id)
        stale = ReportAck(placement_id=report.placement_id, epoch=report.epoch, seq=report.seq, stale=True)
        if found is None:
            return stale
        job, placement = found
        if placement.node_id != node_id:
            return stale
        fate = fencing.judge_report(
            report.epoch,
            report.seq,
            placement_epoch=placement.epoch,
            job_epoch=job.epoch,
            ended=placement.state == PlacementState.ENDED.value,
            last_seq=placement.report_seq,
            finishes=_finishes(job, placement, report),
        )
        if fate is fencing.ReportFate.STALE:
            return stale
        ack = stale.model_copy(update={"stale": False})
        if fate is fencing.ReportFate.REPEATED:
            return ack
        placement.report_seq = report.seq
        if fate is fencing.ReportFate.FINISHED:
            await self._settle(session, job)
            at = await db_now(session)
            await self._transitions.apply(session, job, decisions.FINISHED_LATE, at, exit_code=0)
        else:
            await self._transitions.apply_report(session, job, placement, report, over_s=over_s)
        return ack

    async def append_log(
        self, session: AsyncSession, node_id: str, placement_id: str, epoch: int, offset: int, text: str
    ) -> int:
        """Store output and return the placement's next expected byte offset. Raises StaleEpoch.

        The last output of a placement that has just ended still counts, as long as its epoch is the job's.
        """
        found = await repository.lock_placement(session, placement_id)
        if found is None:
            raise stale()
        job, placement = found
        if placement.node_id != node_id or placement.epoch != epoch or job.epoch != epoch:
            raise stale()
        return await append_log(session, job, placement, offset, text)

    async def assert_current(self, session: AsyncSession, placement_id: str, epoch: int) -> PlacementView:
        """Raise StaleEpoch unless this placement is live and its epoch is the job's.

        Holds the job's row until the transaction ends, so a write made under this check and the start of the next
        epoch exclude each other. The exclusive lock (not FOR SHARE) lets the same transaction go on to
        `record_checkpoint` without two of them waiting for each other.
        """
        job, placement = await self._current(session, placement_id, epoch)
        return placement_view(placement, job.renter_id)

    async def record_checkpoint(
        self,
        session: AsyncSession,
        placement_id: str,
        epoch: int,
        *,
        checkpoint_id: str,
        seq: int,
        step: int | None = None,
        size_bytes: int | None = None,
        stored_bytes: int | None = None,
        trigger: str | None = None,
        ms: int | None = None,
        pace: dict[str, float] | None = None,
    ) -> None:
        """A checkpoint of this placement is committed in this transaction: it is the job's restore point from now on.

        Raises StaleEpoch. Older ones than the newest (by epoch, seq) change nothing.
        """
        job, placement = await self._current(session, placement_id, epoch)
        newest = (
            (job.checkpoint_epoch or 0, job.checkpoint_seq or 0) if job.checkpoint_id is not None else None
        )
        if not fencing.is_newer_checkpoint(newest, epoch, seq):
            return
        job.checkpoint_id, job.checkpoint_epoch, job.checkpoint_seq = checkpoint_id, epoch, seq
        job.checkpoint_at = placement.checkpoint_at = at = await db_now(session)
        job.checkpoints_count += 1
        if ms is not None:
            job.checkpoint_cost_ms = smoothed_cost_ms(job.checkpoint_cost_ms, ms)
        if trigger == "job" and placement.stop_due_at is not None:
            # It has notice, and has saved what it wanted to save: whatever it did from here on would be lost.
            placement.stop_due_at = job.checkpoint_at
            await notify(session, WORK_CHANNEL, "")
        if pace is not None and placement.checkpoint_interval is not None:
            placement.checkpoint_interval = {**placement.checkpoint_interval, **pace}
        if step is not None:
            job.progress = {"total_steps": None, "metrics": {}, **(job.progress or {}), "step": step}
        number = job.checkpoints_count
        if number <= CHECKPOINTS_SHOWN_ALL or number % 10 == 0 or trigger == "final":
            await self._timeline.append(
                session,
                job,
                EventKind.CHECKPOINT,
                f"Checkpoint {number}",
                epoch=epoch,
                ms=ms,
                checkpoint_id=checkpoint_id,
                number=number,
                step=step,
                size_bytes=size_bytes,
                stored_bytes=stored_bytes,
                trigger=trigger,
                **({"every_s": round(pace["every_s"], 1)} if pace else {}),
            )
        else:
            await session.flush()
        if job.spec.get("protection") == Protection.HOT.value:
            saved = CheckpointSaved(
                job_id=job.id,
                renter_id=job.renter_id,
                checkpoint_id=checkpoint_id,
                epoch=epoch,
                seq=seq,
                at=at,
            )
            await self.bus.publish(session, saved)

    async def record_first_step(
        self, session: AsyncSession, placement_id: str, epoch: int, progress: Progress
    ) -> None:
        """After a failover the job went past the step it had reached before: the recovery is complete."""
        job, placement = await self._current(session, placement_id, epoch)
        if placement.recovery is None or "first_step_ms" in placement.recovery or job.last_beat_at is None:
            return
        ms = ms_between(job.last_beat_at, await db_now(session))
        placement.recovery = {**placement.recovery, "first_step_ms": ms}
        job.progress = progress.model_dump()


def _finishes(job: Job, placement: Placement, report: Report) -> bool:
    """Whether a report from a run that was given up says that the job is done, while nothing runs in its place."""
    return (
        report.state is ActualState.EXITED
        and report.exit_code == 0
        and report.saved
        and placement.outcome in (Outcome.MOVED, Outcome.LOST)
        and job.state in fencing.PLACEABLE
        and job.stop_reason is None
    )
