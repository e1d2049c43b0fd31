"""How a job and its placement move on. Rows come in locked; facts go out as events in the same transaction."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gp4u_protocol.job_spec import JobSpec
from gp4u_protocol.messages import ActualState, Arriving, Report
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import coverage, decisions
from gp4u_server.catalyst.jobs.events import JobEnded, PlacementEnded, PlacementRan
from gp4u_server.catalyst.jobs.models import Job, Placement
from gp4u_server.catalyst.jobs.notice import NoticeReason
from gp4u_server.catalyst.jobs.ports import NodeDesires
from gp4u_server.catalyst.jobs.timeline import Timeline
from gp4u_server.catalyst.jobs.types import EventKind, JobState, Outcome, PlacementState
from gp4u_server.foundation.events import EventBus

NODE_DESIRED_CHANNEL = "gp4u_node_desired"
WORK_CHANNEL = "gp4u_work"
RESTORE_FAILED = "restore_failed"
"""Of a run that was killed: its node found the checkpoint damaged while lazy files of it still arrived."""


@dataclass(frozen=True)
class Transitions:
    """Applies what happened."""

    bus: EventBus
    nodes: NodeDesires

    @property
    def timeline(self) -> Timeline:
        """Where entries go."""
        return Timeline(self.bus)

    async def apply_report(
        self, session: AsyncSession, job: Job, placement: Placement, report: Report, *, over_s: float = 0.0
    ) -> None:
        state = report.state
        at = await db_now(session)
        # Not the job's own doing: its shim died and took it along, or the machine was started again.
        shim_lost = state is ActualState.EXITED and report.reason == "shim_lost"
        if state in (ActualState.EXITED, ActualState.STOPPED) and not shim_lost:
            if state is ActualState.EXITED:
                verdict = decisions.after_exit(
                    facts_of(job, placement), report.exit_code, report.signal, report.reason, report.detail
                )
            else:
                verdict = decisions.after_stopped(facts_of(job, placement), report.reason)
            await self.end_placement(session, job, placement, verdict, at, over_s=over_s)
            await self.apply(session, job, verdict, at, exit_code=report.exit_code)
            await self.node_changed(session, placement.node_id)
        elif state is ActualState.START_FAILED:
            await self.start_failed(session, job, placement, report.reason, report.detail)
        elif state is ActualState.KILLED or shim_lost:
            # Nobody superseded this epoch, yet the node gave the run up (say, frozen for a day): start over elsewhere.
            job.last_beat_at = job.lost_at = at
            verdict = decisions.after_lost(facts_of(job, placement))
            placement.reason = "shim_lost" if shim_lost else "killed"
            if report.reason == RESTORE_FAILED:
                await self._restored_badly(session, job, placement, report)
            await self.end_placement(session, job, placement, verdict, at, over_s=over_s)
            await self.apply(session, job, verdict, at, exit_code=None)
            await self.node_changed(session, placement.node_id)
        else:
            await self._progressed(session, job, placement, report, at)

    async def _progressed(
        self, session: AsyncSession, job: Job, placement: Placement, report: Report, at: datetime
    ) -> None:
        was = PlacementState(placement.state)
        now_state = decisions.PLACEMENT_STATES.get(report.state, was)
        if was is PlacementState.STOPPING and now_state is not PlacementState.STOPPING:
            now_state = was
        placement.state = now_state.value
        if placement.claimed_at is None:
            placement.claimed_at = at
        if report.state is ActualState.FETCHING:
            await self.timeline.append(session, job, EventKind.STARTING, "Starting", epoch=placement.epoch)
        elif report.state is ActualState.RESTORING and placement.restore_checkpoint_id is not None:
            await self.timeline.append(
                session,
                job,
                EventKind.RESTORING,
                "Reading the checkpoint back",
                epoch=placement.epoch,
                checkpoint_id=placement.restore_checkpoint_id,
            )
        elif report.state is ActualState.RUNNING and placement.running_at is None:
            await self._runs(session, job, placement, report, at)
        if report.arriving is not None and placement.running_at is not None:
            await self._arrives(session, job, placement, report.arriving, at)

    async def _arrives(
        self, session: AsyncSession, job: Job, placement: Placement, said: Arriving, at: datetime
    ) -> None:
        """Lazy files of the checkpoint follow, or all have. An agent that was started again says it once more."""
        before = placement.arriving
        if before is not None and before["done_at"] is not None:
            return
        since = at if before is None else datetime.fromisoformat(before["since"])
        done = said.files == 0
        placement.arriving = {
            "files": said.files,
            "bytes": said.bytes,
            "bytes_total": said.bytes_total if before is None else before["bytes_total"],
            "since": since.isoformat(),
            "done_at": at.isoformat() if done else None,
        }
        if done or before is None:
            title = decisions.all_arrived() if done else decisions.started_without(said)
            await self.timeline.append(
                session,
                job,
                EventKind.ARRIVING,
                title,
                epoch=placement.epoch,
                ms=ms_between(since, at) if done else None,
                files=said.files,
                bytes=said.bytes,
                bytes_total=placement.arriving["bytes_total"],
            )

    async def _restored_badly(
        self, session: AsyncSession, job: Job, placement: Placement, report: Report
    ) -> None:
        """It ran while files of its checkpoint arrived, and one is damaged. What it saved since carries the damage on, so nothing of
        this run counts; the next begins with the newest checkpoint that is sound."""
        placement.reason, placement.checkpoint_at = RESTORE_FAILED, None
        await self.timeline.append(
            session,
            job,
            EventKind.RETRYING,
            "A file of the checkpoint is damaged",
            epoch=placement.epoch,
            reason=RESTORE_FAILED,
            sentence=report.detail,
        )

    async def _runs(
        self, session: AsyncSession, job: Job, placement: Placement, report: Report, at: datetime
    ) -> None:
        placement.running_at = placement.metered_from = at
        job.started_at = job.started_at or at
        if job.stop_reason is None:
            job.state = JobState.RUNNING.value
        job.start_failures = 0
        took = report.durations_ms
        kind, title, ms = EventKind.RUNNING, f"Running on {placement.node_name}", sum(took.values()) or None
        if placement.recovery is not None and job.last_beat_at is not None:
            ms = ms_between(job.last_beat_at, at)
            placement.recovery = {
                **placement.recovery,
                "restore_ms": took.get("fetching", 0) + took.get("restoring", 0),
                "start_ms": took.get("starting", 0),
                "recovery_ms": ms,
            }
            job.lost_at = None
            kind, title = EventKind.RESUMED, f"Resumed on {placement.node_name}"
        await self.timeline.append(
            session,
            job,
            kind,
            title,
            epoch=placement.epoch,
            ms=ms,
            node_name=placement.node_name,
            durations_ms=took or None,
            recovery_ms=placement.recovery,
        )
        await self.bus.publish(session, PlacementRan(**ids_of(job, placement), at=at))

    async def start_failed(
        self, session: AsyncSession, job: Job, placement: Placement, reason: str | None, detail: str | None
    ) -> None:
        at = await db_now(session)
        verdict = decisions.after_start_failed(facts_of(job, placement), reason, detail)
        placement.reason = reason
        if not verdict.state.is_final:
            said = detail or decisions.SENTENCES.get(reason or "") or "The start failed."
            await self.timeline.append(
                session,
                job,
                EventKind.RETRYING,
                f"Start failed on {placement.node_name}",
                epoch=placement.epoch,
                reason=reason,
                sentence=said,
                retry_after_s=verdict.retry_after_s,
            )
        await self.end_placement(session, job, placement, verdict, at)
        await self.apply(session, job, verdict, at, exit_code=None)
        await self.node_changed(session, placement.node_id)

    async def end_placement(
        self,
        session: AsyncSession,
        job: Job,
        placement: Placement,
        verdict: decisions.Verdict,
        at: datetime,
        *,
        over_s: float = 0.0,
    ) -> None:
        """Close the row and tell bookings. Its running time ended `over_s` before `at`."""
        at = self.close(job, placement, verdict, at, over_s=over_s)
        # The job's new state stands before anybody hears of the end: the last charge may exhaust the wallet, and the
        # stop that follows from it must not turn a job that is done into one that was stopped.
        self.enter(job, verdict, at)
        await self.tell_end(session, job, placement)

    def close(
        self,
        job: Job,
        placement: Placement,
        verdict: decisions.Verdict,
        at: datetime,
        *,
        over_s: float = 0.0,
    ) -> datetime:
        """The placement is over; from here on nothing is accepted from it. Answers when its time ended. Touches no other row."""
        at = coverage.ended_at(
            at,
            over_s,
            metered_from=placement.metered_from,
            running_at=placement.running_at,
            created_at=placement.created_at,
        )
        self.close_segment(job, placement, at)
        placement.stop_due_at = None
        placement.state = PlacementState.ENDED.value
        placement.outcome = verdict.outcome.value
        placement.reason = verdict.reason or placement.reason
        placement.ended_at = at
        return at

    @staticmethod
    def enter(job: Job, verdict: decisions.Verdict, at: datetime) -> None:
        """The job's state is the verdict's."""
        job.state = verdict.state.value
        if verdict.state.is_final:
            job.ended_at = max(at, job.created_at)

    async def tell_end(self, session: AsyncSession, job: Job, placement: Placement) -> None:
        """Whoever gave GPUs and money to the placement takes them back: locks node, offer, booking, meter, accounts."""
        assert placement.outcome is not None
        assert placement.ended_at is not None
        await session.flush()
        await self.bus.publish(
            session,
            PlacementEnded(
                **ids_of(job, placement),
                outcome=Outcome(placement.outcome),
                at=placement.ended_at,
                saved_until=placement.checkpoint_at or placement.running_at,
            ),
        )

    async def apply(
        self,
        session: AsyncSession,
        job: Job,
        verdict: decisions.Verdict,
        at: datetime,
        *,
        exit_code: int | None,
    ) -> None:
        """Move the job where the verdict says; its placement is closed already."""
        job.start_failures = verdict.start_failures
        if not verdict.state.is_final:
            if JobState(job.state).is_final:
                return  # stopped by whoever heard of the placement's end
            job.next_attempt_at = at + timedelta(seconds=verdict.retry_after_s or 0.0)
            job.held_back_until = job.next_attempt_at if verdict.retry_after_s else None
            await session.flush()
            await notify(session, WORK_CHANNEL, job.id)
            return
        job.state = verdict.state.value
        job.reason, job.detail, job.exit_code = verdict.reason, verdict.detail, exit_code
        job.ended_at = max(at, job.created_at)
        job.next_attempt_at = None
        job.waiting = None
        kind, title = {
            JobState.DONE: (EventKind.DONE, "Done"),
            JobState.FAILED: (EventKind.FAILED, "Failed"),
            JobState.STOPPED: (EventKind.STOPPED, "Stopped"),
        }[verdict.state]
        title = decisions.TITLES.get(verdict.reason or "", title)
        await self.timeline.append(
            session,
            job,
            kind,
            title,
            epoch=job.epoch,
            ms=job.run_us // 1000,
            reason=verdict.reason,
            sentence=verdict.detail,
            exit_code=exit_code,
        )
        await self.bus.publish(
            session,
            JobEnded(
                job_id=job.id,
                renter_id=job.renter_id,
                state=verdict.state,
                reason=verdict.reason,
                at=job.ended_at,
            ),
        )

    @staticmethod
    def close_segment(job: Job, placement: Placement, until: datetime) -> None:
        if placement.metered_from is not None:
            job.run_us += max(0, (until - placement.metered_from) // timedelta(microseconds=1))
            placement.metered_from = None

    async def node_changed(self, session: AsyncSession, node_id: str) -> None:
        """The node's wanted state is another now: raise its version and wake its gateway at commit."""
        await session.flush()
        await self.nodes.bump_desired(session, node_id)
        await notify(session, NODE_DESIRED_CHANNEL, node_id)


def facts_of(job: Job, placement: Placement | None = None) -> decisions.JobFacts:
    """What a verdict on the job depends on; `placement` is the one that it is about."""
    spec = JobSpec.model_validate(job.spec)
    return decisions.JobFacts(
        protection=spec.protection,
        has_run=job.started_at is not None,
        stop_reason=job.stop_reason,
        start_failures=job.start_failures,
        on_node_loss=spec.failover.on_node_loss,
        moves=job.moves,
        moves_max=spec.failover.moves_max,
        moving=placement is not None and placement.moving_reason is not None,
        preempted=placement is not None and placement.notice_reason == NoticeReason.PREEMPTION,
        preemptions=job.preemptions,
    )


def ids_of(job: Job, placement: Placement) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "renter_id": job.renter_id,
        "placement_id": placement.id,
        "epoch": placement.epoch,
        "booking_id": placement.booking_id,
    }


def ms_between(start: datetime, end: datetime) -> int:
    return max(0, round((end - start).total_seconds() * 1000))


async def db_now(session: AsyncSession) -> datetime:
    """The database's clock, the only one that records use."""
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def notify(session: AsyncSession, channel: str, payload: str) -> None:
    await session.execute(
        text("SELECT pg_notify(:channel, :payload)").bindparams(channel=channel, payload=payload)
    )
