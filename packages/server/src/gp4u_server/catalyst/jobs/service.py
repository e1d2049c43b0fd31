"""Use cases of jobs: create, place, follow what nodes report, stop. Every change locks the job's row first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gp4u_protocol.job_spec import JobSpec
from gp4u_protocol.messages import DesiredRun, PlacementSpec, Progress, Report, ReportAck
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import coverage, decisions, fencing, repository
from gp4u_server.catalyst.jobs.data_keys import DataKeys
from gp4u_server.catalyst.jobs.errors import JobAlreadyPlaced, JobNotFound, StaleEpoch
from gp4u_server.catalyst.jobs.events import (
    LeaseInterrupted,
    LeaseRestored,
)
from gp4u_server.catalyst.jobs.logs import append_log
from gp4u_server.catalyst.jobs.models import Job, Placement
from gp4u_server.catalyst.jobs.ports import NodeDesires
from gp4u_server.catalyst.jobs.timeline import CHECKPOINTS_SHOWN_ALL, Timeline
from gp4u_server.catalyst.jobs.transitions import (
    WORK_CHANNEL,
    Transitions,
    db_now,
    facts_of,
    ids_of,
    ms_between,
    notify,
)
from gp4u_server.catalyst.jobs.types import EventKind, JobState, Outcome, PlacementState
from gp4u_server.catalyst.jobs.views import (
    JobView,
    PlacementView,
    Setback,
    job_view,
    placement_spec,
    placement_view,
)
from gp4u_server.foundation.events import EventBus
from gp4u_server.kit.ids import new_id
from gp4u_server.market.types import OfferView

SETBACKS_REMEMBERED = 64


@dataclass(frozen=True)
class LeasedPlacement:
    """A live placement of a node, as the gateway needs it. `claimed`: it holds a lease that beats may renew."""

    spec: PlacementSpec
    renter_id: str
    claimed: bool
    wants_first_step: bool
    step_before: int | None


@dataclass(frozen=True)
class JobService:
    """See each use case. `at` values are the database's time."""

    bus: EventBus
    data_keys: DataKeys
    nodes: NodeDesires

    # --- the renter's side -------------------------------------------------------------------------------

    async def create(
        self, session: AsyncSession, renter_id: str, spec: JobSpec, offer_id: str | None = None
    ) -> JobView:
        """Queue a job; it is due at once. From the commit on it will reach a final state."""
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
        )
        session.add(job)
        await session.flush()
        await session.refresh(job)
        await self._timeline.append(session, job, EventKind.QUEUED, "Queued")
        await notify(session, WORK_CHANNEL, "")
        return job_view(job)

    async def get(self, session: AsyncSession, job_id: str) -> JobView:
        """One job, whoever asks. Raises JobNotFound."""
        job = await repository.get_job(session, job_id)
        if job is None:
            raise _not_found(job_id)
        return job_view(job)

    async def data_key(self, session: AsyncSession, job_id: str) -> bytes:
        """The key of the job's checkpoints, for its renter. Raises JobNotFound."""
        job = await repository.get_job(session, job_id)
        if job is None:
            raise _not_found(job_id)
        return self.data_keys.unwrap(job.id, job.data_key)

    async def lock(self, session: AsyncSession, job_id: str, *, skip_locked: bool = False) -> JobView | None:
        """The job, locked for this transaction; None when it is missing or (with `skip_locked`) somebody has it."""
        job = await repository.lock_job(session, job_id, skip_locked=skip_locked)
        return None if job is None else job_view(job)

    async def lock_job(self, session: AsyncSession, job_id: str) -> None:
        """Lock the job's row until the transaction ends: whoever changes several rows of a job begins here."""
        await repository.lock_job(session, job_id)

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

    async def request_stop(self, session: AsyncSession, job_id: str, reason: str) -> JobView:
        """End the job gracefully: at once when nothing of it was claimed, else after a final checkpoint.

        The first reason stays. Harmless on a job that has ended. Raises JobNotFound.
        """
        job = await repository.lock_job(session, job_id)
        if job is None:
            raise _not_found(job_id)
        if JobState(job.state).is_final or job.stop_reason is not None:
            return job_view(job)
        job.stop_reason = reason
        sentence = decisions.SENTENCES.get(reason)
        placement = await repository.lock_live_placement(session, job)
        if placement is not None and placement.state != PlacementState.OFFERED.value:
            job.state = JobState.STOPPING.value
            placement.desired = DesiredRun.STOP.value
            placement.stop_reason = reason
            placement.stop_requested_at = await db_now(session)
            await self._timeline.append(
                session,
                job,
                EventKind.STOPPING,
                "Stopping",
                epoch=job.epoch,
                reason=reason,
                sentence=sentence,
            )
            await self._transitions.node_changed(session, placement.node_id)
            return job_view(job)
        verdict = decisions.after_stopped(facts_of(job), reason)
        at = await db_now(session)
        if placement is not None:
            await self._transitions.end_placement(session, job, placement, verdict, at)
        await self._transitions.apply(session, job, verdict, at, exit_code=None)
        return job_view(job)

    # --- placing -----------------------------------------------------------------------------------------

    async def lock_for_placing(self, session: AsyncSession, job_id: str) -> JobView | None:
        """The job, locked until commit, when it waits for a placement (queued or recovering); else None."""
        job = await repository.lock_job(session, job_id)
        return job_view(job) if job is not None and job.state in fencing.PLACEABLE else None

    async def create_placement(
        self,
        session: AsyncSession,
        job: JobView,
        *,
        offer: OfferView,
        booking_id: str,
        device_uuids: Sequence[str],
        rate_per_hour_micros: int,
        decision: dict[str, Any] | None = None,
        now: datetime | None = None,
    ) -> PlacementView:
        """Give the job its next placement, epoch + 1, and wake the node's gateway.

        Raises JobAlreadyPlaced when the job is no longer as `job` shows it (another epoch, or not waiting).
        """
        row = await repository.lock_job(session, job.id)
        if row is None or not fencing.may_place(row.state, seen_epoch=job.epoch, epoch=row.epoch):
            raise JobAlreadyPlaced("The job was placed or ended in the meantime.")
        if not device_uuids:
            raise ValueError("a placement needs at least one device")
        now = await db_now(session)
        row.epoch += 1
        recovery = None
        if row.lost_at is not None and row.last_beat_at is not None:
            recovery = {
                "detect_ms": ms_between(row.last_beat_at, row.lost_at),
                "decide_ms": ms_between(row.lost_at, now),
            }
        placement = Placement(
            id=new_id("plc"),
            job_id=row.id,
            epoch=row.epoch,
            state=PlacementState.OFFERED.value,
            node_id=offer.node_id,
            node_name=offer.node_name,
            region=offer.region,
            simulated=offer.simulated,
            gpu_model=offer.gpu_model,
            device_uuids=list(device_uuids),
            offer_id=offer.id,
            booking_id=booking_id,
            rate_per_hour_micros=rate_per_hour_micros,
            restore_checkpoint_id=row.checkpoint_id,
            restore_epoch=row.checkpoint_epoch,
            restore_seq=row.checkpoint_seq,
            recovery=recovery,
        )
        session.add(placement)
        row.state = JobState.STARTING.value
        row.next_attempt_at = None
        row.attempts = 0
        row.detail = None
        await session.flush()
        await session.refresh(placement)
        kind, title = EventKind.MATCHED, f"Matched with {offer.node_name}"
        if recovery is not None:
            kind, title = EventKind.FAILED_OVER, f"Moved to {offer.node_name}"
        elif row.epoch > 1:
            kind, title = EventKind.RETRYING, f"Trying again on {offer.node_name}"
        await self._timeline.append(
            session,
            row,
            kind,
            title,
            epoch=row.epoch,
            ms=recovery["decide_ms"] if recovery else None,
            node_id=offer.node_id,
            node_name=offer.node_name,
            gpu_model=offer.gpu_model,
            gpus=len(device_uuids),
            rate_per_hour_micros=rate_per_hour_micros,
            restores_checkpoint=row.checkpoint_id,
            decision=decision,
        )
        await self._transitions.node_changed(session, offer.node_id)
        return placement_view(placement, row.renter_id)

    async def record_waiting(
        self, session: AsyncSession, job: JobView, *, detail: dict[str, Any], retry_at: datetime
    ) -> None:
        """Nothing fits now: try again at `retry_at`. `detail["summary"]` is the sentence for the renter; it goes onto
        the timeline when it is a new one."""
        row = await repository.lock_job(session, job.id)
        if row is None or row.state not in fencing.PLACEABLE:
            return
        row.attempts += 1
        row.next_attempt_at = retry_at
        summary = str(detail.get("summary") or "Waiting for a node that fits")
        if row.detail != summary:
            row.detail = summary
            await self._timeline.append(session, row, EventKind.WAITING, summary, epoch=row.epoch, why=detail)
        await session.flush()

    async def setbacks(self, session: AsyncSession, job_id: str) -> list[Setback]:
        """The newest runs of a job that a node lost or could not start, newest first."""
        rows = await repository.setbacks(session, job_id, SETBACKS_REMEMBERED)
        return [Setback(node_id, at) for node_id, at in rows]

    async def wake_waiting(
        self, session: AsyncSession, *, gpus: int, vram_gb: int, region: str, limit: int
    ) -> int:
        """A node of this size can be had: let waiting jobs that it may suit be tried at once. Answers how many."""
        woken = await repository.wake_waiting(session, gpus=gpus, vram_gb=vram_gb, region=region, limit=limit)
        if woken:
            await notify(session, WORK_CHANNEL, "")
        return len(woken)

    async def node_of_placement(self, session: AsyncSession, placement_id: str) -> str | None:
        """Where a placement is or was; None for an unknown one."""
        return await repository.node_of_placement(session, placement_id)

    async def due_for_placing(self, session: AsyncSession, limit: int = 50) -> list[str]:
        """Ids of jobs whose next attempt is due, recovering ones first."""
        return await repository.due_jobs(session, limit)

    # --- the node's side ---------------------------------------------------------------------------------

    async def live_on_node(self, session: AsyncSession, node_id: str) -> list[LeasedPlacement]:
        """What the node should run now: the body of `Desired`."""
        return [
            LeasedPlacement(
                spec=placement_spec(job, placement),
                renter_id=job.renter_id,
                claimed=placement.state != PlacementState.OFFERED.value,
                wants_first_step=placement.recovery is not None and "first_step_ms" not in placement.recovery,
                step_before=(job.progress or {}).get("step"),
            )
            for job, placement in await repository.live_on_node(session, node_id)
        ]

    async def record_claim(self, session: AsyncSession, node_id: str, placement_id: str, epoch: int) -> bytes:
        """The node takes the placement. Returns the job's data key; again on every repetition.

        Raises StaleEpoch when the epoch is not current, the placement is over, or it is another node's.
        """
        job, placement = await self._current(session, placement_id, epoch)
        if placement.node_id != node_id:
            raise _stale()
        if placement.state == PlacementState.OFFERED.value:
            placement.state = PlacementState.CLAIMED.value
            placement.claimed_at = await db_now(session)
        return self.data_keys.unwrap(job.id, job.data_key)

    async def record_report(self, session: AsyncSession, node_id: str, report: Report) -> ReportAck:
        """Apply a report once. Repetitions are acknowledged without effect; another epoch's are `stale`."""
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
        )
        if fate is fencing.ReportFate.STALE:
            return stale
        ack = stale.model_copy(update={"stale": False})
        if fate is fencing.ReportFate.REPEATED:
            return ack
        placement.report_seq = report.seq
        await self._transitions.apply_report(session, job, placement, report)
        return ack

    async def append_log(
        self, session: AsyncSession, node_id: str, placement_id: str, epoch: int, offset: int, text: str
    ) -> int:
        """Store output and return the placement's next expected byte offset. Raises StaleEpoch.

        The last output of a placement that has just ended still counts, as long as its epoch is the job's.
        """
        found = await repository.lock_placement(session, placement_id)
        if found is None:
            raise _stale()
        job, placement = found
        if placement.node_id != node_id or placement.epoch != epoch or job.epoch != epoch:
            raise _stale()
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
        job.checkpoint_at = placement.checkpoint_at = await db_now(session)
        job.checkpoints_count += 1
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
            )
        else:
            await session.flush()

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

    # --- health ------------------------------------------------------------------------------------------

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
        """The node's lease ran out: end its placements and free their jobs to go elsewhere.

        `progress` is the last that the gateway heard of each placement. Returns the jobs that are due for placing.
        """
        now = await db_now(session)
        due = []
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
            verdict = decisions.after_lost(facts_of(job))
            await self._transitions.end_placement(session, job, placement, verdict, last_beat)
            await self._transitions.apply(session, job, verdict, now, exit_code=None)
            await self._transitions.node_changed(session, placement.node_id)
            if job.next_attempt_at is not None:
                due.append(job.id)
        return due

    # --- limits ------------------------------------------------------------------------------------------

    async def stop_overdue(self, session: AsyncSession, limit: int = 50) -> int:
        """End jobs that reached their longest duration or waited too long for a first placement."""
        job_ids = await repository.overdue_jobs(session, decisions.QUEUE_WAIT_S_MAX, limit)
        for job_id in sorted(job_ids):
            job = await self.get(session, job_id)
            if job.state.is_final:
                continue
            if job.started_at is None:
                await self._give_up(session, job_id)
            else:
                await self.request_stop(session, job_id, "duration_reached")
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
            at = await db_now(session)
            verdict = decisions.after_stopped(facts_of(job), placement.stop_reason)
            await self._transitions.end_placement(session, job, placement, verdict, at)
            await self._transitions.apply(session, job, verdict, at, exit_code=None)
            await self._transitions.node_changed(session, placement.node_id)
            ended += 1
        return ended

    # --- money -------------------------------------------------------------------------------------------

    async def record_charge(
        self,
        session: AsyncSession,
        job_id: str,
        charged_delta: int,
        refunded_delta: int = 0,
        refund_title: str = "Refunded",
    ) -> None:
        """Billing posted a charge or a refund, in micro-units: keep the job's totals and show refunds.

        `refund_title` is what the timeline says: what was given back.
        """
        job = await repository.lock_job(session, job_id)
        if job is None:
            raise _not_found(job_id)
        job.charged_micros += charged_delta
        job.refunded_micros += refunded_delta
        if refunded_delta > 0:
            await self._timeline.append(
                session,
                job,
                EventKind.REFUNDED,
                refund_title,
                epoch=job.epoch,
                refunded_micros=refunded_delta,
            )
        else:
            await session.flush()

    # --- inside ------------------------------------------------------------------------------------------

    @property
    def _timeline(self) -> Timeline:
        return Timeline(self.bus)

    @property
    def _transitions(self) -> Transitions:
        return Transitions(self.bus, self.nodes)

    async def _current(self, session: AsyncSession, placement_id: str, epoch: int) -> tuple[Job, Placement]:
        found = await repository.lock_placement(session, placement_id)
        if found is None:
            raise _stale()
        job, placement = found
        ended = placement.state == PlacementState.ENDED.value
        if not fencing.is_current(epoch, placement_epoch=placement.epoch, job_epoch=job.epoch, ended=ended):
            raise _stale()
        return job, placement

    async def _lock_live_on_node(self, session: AsyncSession, node_id: str) -> list[tuple[Job, Placement]]:
        """Live placements of the node with their jobs, locked job by job in the order of their ids."""
        locked = []
        found = await repository.live_on_node(session, node_id)
        for placement_id in [row.id for _, row in sorted(found, key=lambda pair: pair[0].id)]:
            pair = await repository.lock_placement(session, placement_id)
            if pair is not None and pair[1].state != PlacementState.ENDED.value:
                locked.append(pair)
        return locked

    async def _give_up(self, session: AsyncSession, job_id: str) -> None:
        job = await repository.lock_job(session, job_id)
        assert job is not None
        placement = await repository.lock_live_placement(session, job)
        at = await db_now(session)
        verdict = decisions.Verdict(
            Outcome.STOPPED, JobState.FAILED, "no_capacity", decisions.SENTENCES["no_capacity"]
        )
        if placement is not None:
            await self._transitions.end_placement(session, job, placement, verdict, at)
            await self._transitions.node_changed(session, placement.node_id)
        await self._transitions.apply(session, job, verdict, at, exit_code=None)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _not_found(job_id: str) -> JobNotFound:
    return JobNotFound(f"There is no job {job_id} among yours.")


def _stale() -> StaleEpoch:
    return StaleEpoch("This run of the job is over: another placement owns it, or it has ended.")
