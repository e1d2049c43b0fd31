"""Give a waiting job its next placement, or let it wait on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gp4u_protocol.checkpoint.interval import advised_interval_s
from gp4u_protocol.job_spec import CheckpointRule
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import fencing, repository
from gp4u_server.catalyst.jobs.errors import JobAlreadyPlaced
from gp4u_server.catalyst.jobs.models import Job, Placement
from gp4u_server.catalyst.jobs.transitions import WORK_CHANNEL, db_now, ms_between, notify
from gp4u_server.catalyst.jobs.types import EventKind, JobState, Outcome, PlacementState
from gp4u_server.catalyst.jobs.use_cases import UseCases
from gp4u_server.catalyst.jobs.views import JobView, PlacementView, Setback, job_view, placement_view
from gp4u_server.foundation import incarnation
from gp4u_server.kit.ids import new_id
from gp4u_server.market.types import OfferView

SETBACKS_REMEMBERED = 64
_MOVING = (Outcome.LOST.value, Outcome.MOVED.value)


@dataclass(frozen=True)
class Placing(UseCases):
    """The router's and the placing loop's side."""

    async def lock_for_placing(self, session: AsyncSession, job_id: str) -> JobView | None:
        """The job, locked until commit, when it waits for a placement (queued or recovering); else None.

        None also while its lost run is not settled, or a stop was asked for.
        """
        job = await repository.lock_job(session, job_id)
        if job is None or job.state not in fencing.PLACEABLE:
            return None
        if job.next_attempt_at is None or job.stop_reason is not None:
            return None
        return replace(job_view(job), epoch_base=await incarnation.epoch_base(session))

    async def create_placement(
        self,
        session: AsyncSession,
        job: JobView,
        *,
        offer: OfferView,
        booking_id: str,
        device_uuids: Sequence[str],
        rate_per_hour_micros: int,
        transparent: bool = False,
        decision: dict[str, Any] | None = None,
        now: datetime | None = None,
    ) -> PlacementView:
        """Give the job its next placement, with an epoch above all before, and wake the node's gateway.

        Raises JobAlreadyPlaced when the job is no longer as `job` shows it (another epoch, or not waiting).
        """
        row = await repository.lock_job(session, job.id)
        if row is None or not fencing.may_place(row.state, seen_epoch=job.epoch, epoch=row.epoch):
            raise JobAlreadyPlaced("The job was placed or ended in the meantime.")
        if not device_uuids:
            raise ValueError("a placement needs at least one device")
        now = await db_now(session)
        moves = row.started_at is not None and await repository.newest_outcome(session, row.id) in _MOVING
        row.moves += moves
        is_first = row.epoch == 0
        row.epoch = job.next_epoch
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
            transparent=transparent,
            restore_checkpoint_id=row.checkpoint_id,
            restore_epoch=row.checkpoint_epoch,
            restore_seq=row.checkpoint_seq,
            recovery=recovery,
            checkpoint_interval=await self._interval(session, row, offer),
        )
        session.add(placement)
        row.state = JobState.STARTING.value
        row.next_attempt_at = None
        row.attempts = 0
        row.detail = None
        row.waiting = row.held_back_until = None
        await session.flush()
        await session.refresh(placement)
        kind, title = EventKind.MATCHED, f"Matched with {offer.node_name}"
        if recovery is not None or moves:
            kind, title = EventKind.FAILED_OVER, f"Moved to {offer.node_name}"
        elif not is_first:
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
            moves=row.moves or None,
            decision=decision,
        )
        await self._transitions.node_changed(session, offer.node_id)
        return placement_view(placement, row.renter_id)

    async def _interval(self, session: AsyncSession, job: Job, offer: OfferView) -> dict[str, Any] | None:
        """What `every: auto` begins with on this node: with the cost that was measured on the one before, if any."""
        rule = CheckpointRule.model_validate(job.spec.get("checkpoint", {}))
        if not rule.auto:
            return None
        before = (await repository.newest_placements(session, [job.id])).get(job.id)
        cost_s = (before[0].checkpoint_interval or {}).get("cost_s") if before else None
        every_s = rule.every_s if cost_s is None else advised_interval_s(cost_s, offer.hazard_per_hour)
        return {"every_s": every_s, "cost_s": cost_s, "hazard_per_hour": offer.hazard_per_hour}

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
        row.waiting = detail
        summary = str(detail.get("summary") or "Waiting for a node that fits")
        if row.detail != summary:
            row.detail = summary
            await self._timeline.append(session, row, EventKind.WAITING, summary, epoch=row.epoch, why=detail)
        await session.flush()

    async def due_for_placing(self, session: AsyncSession, limit: int = 50) -> list[str]:
        """Ids of jobs whose next attempt is due, recovering ones first."""
        return await repository.due_jobs(session, limit)

    async def lock_due(self, session: AsyncSession, job_id: str) -> bool:
        """Take a job of `due_for_placing` for this transaction. False: another controller has it, or was faster: what it
        decided stands, and is not decided again before its pause is over."""
        return await repository.lock_due_job(session, job_id)

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

    async def wake(self, session: AsyncSession, job_ids: Sequence[str]) -> int:
        """Let these jobs be tried at once, whatever pause they keep: something is kept for them. Answers how many."""
        woken = await repository.wake(session, job_ids) if job_ids else []
        if woken:
            await notify(session, WORK_CHANNEL, "")
        return len(woken)

    async def node_of_placement(self, session: AsyncSession, placement_id: str) -> str | None:
        """Where a placement is or was; None for an unknown one."""
        return await repository.node_of_placement(session, placement_id)
