"""What the API shows of jobs: rows joined with the last progress that a gateway heard."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gp4u_protocol.job_spec import JobSpec, Protection
from gp4u_protocol.promise import promise_of
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs import repository
from gp4u_server.catalyst.jobs.errors import JobNotFound
from gp4u_server.catalyst.jobs.fencing import PLACEABLE
from gp4u_server.catalyst.jobs.logs import read_log
from gp4u_server.catalyst.jobs.models import Job, JobEventRow, Placement
from gp4u_server.catalyst.jobs.notice import NoticeReason
from gp4u_server.catalyst.jobs.ports import StandbysShown
from gp4u_server.catalyst.jobs.schemas import (
    ArrivingOut,
    CheckpointIntervalOut,
    HintOut,
    JobEventOut,
    JobOut,
    LogPageOut,
    NoticeOut,
    PlacementOut,
    ProgressOut,
    StandbyOut,
    WaitingOut,
)
from gp4u_server.catalyst.jobs.timeline import read_timeline
from gp4u_server.catalyst.jobs.types import EventKind, JobState, PlacementState
from gp4u_server.foundation.streams import Streams
from gp4u_server.kit.paging import PAGE_SIZE_MAX, Page, decode_cursor, encode_cursor


@dataclass(frozen=True)
class JobReader:
    """Reads for one caller: `renter_id` None reads everybody's (admins)."""

    streams: Streams
    standbys: StandbysShown | None = None

    async def page(
        self,
        session: AsyncSession,
        renter_id: str | None,
        *,
        states: Sequence[JobState],
        cursor: str | None,
        limit: int,
    ) -> Page[JobOut]:
        """Jobs, newest first."""
        before = str(decode_cursor(cursor, str)[0]) if cursor else None
        limit = min(max(limit, 1), PAGE_SIZE_MAX)
        jobs = await repository.page_of_jobs(session, renter_id, states, before, limit + 1)
        next_cursor = encode_cursor(jobs[limit - 1].id) if len(jobs) > limit else None
        return Page(items=await self._shown(session, jobs[:limit]), next_cursor=next_cursor)

    async def job(self, session: AsyncSession, renter_id: str | None, job_id: str) -> JobOut:
        """One job. Raises JobNotFound, also for another renter's."""
        job = await self._visible(session, renter_id, job_id)
        return (await self._shown(session, [job]))[0]

    async def timeline(
        self, session: AsyncSession, renter_id: str | None, job_id: str, after: int, limit: int
    ) -> list[JobEventOut]:
        """Entries after id `after`, oldest first."""
        await self._visible(session, renter_id, job_id)
        return [event_out(row) for row in await read_timeline(session, job_id, after, limit)]

    async def log(
        self, session: AsyncSession, renter_id: str | None, job_id: str, offset: int, limit_bytes: int
    ) -> LogPageOut:
        """Output from a byte offset on."""
        job = await self._visible(session, renter_id, job_id)
        page = await read_log(session, job_id, max(offset, 0), limit_bytes)
        ended = JobState(job.state).is_final and page.next_offset >= job.log_bytes
        return LogPageOut(text=page.text, next_offset=page.next_offset, ended=ended)

    async def _visible(self, session: AsyncSession, renter_id: str | None, job_id: str) -> Job:
        job = await repository.get_job(session, job_id)
        if job is None or (renter_id is not None and job.renter_id != renter_id):
            raise JobNotFound(f"There is no job {job_id} among yours.")
        return job

    async def _shown(self, session: AsyncSession, jobs: Sequence[Job]) -> list[JobOut]:
        newest = await repository.newest_placements(session, [job.id for job in jobs])
        running = [job.id for job in jobs if job.state in ("running", "stopping")]
        heard = await self.streams.recall([f"live:{job_id}" for job_id in running])
        live = dict(zip(running, heard, strict=True))
        hot = [
            job.id for job in jobs if job.spec.get("protection") == Protection.HOT.value and not job.ended_at
        ]
        standbys = await self.standbys.shown(session, hot) if hot and self.standbys is not None else {}
        return [_job_out(job, newest.get(job.id), live.get(job.id), standbys.get(job.id)) for job in jobs]


def event_out(row: JobEventRow) -> JobEventOut:
    """A timeline entry as shown."""
    return JobEventOut(
        id=row.id,
        at=row.at,
        kind=EventKind(row.kind),
        epoch=row.epoch,
        title=row.title,
        detail=row.detail,
        ms=row.ms,
        cost_micros=row.cost_micros,
    )


def _job_out(
    job: Job,
    newest: tuple[Placement, int] | None,
    live: dict[str, Any] | None,
    standby: StandbyOut | None,
) -> JobOut:
    placement, count = newest if newest is not None else (None, 0)
    run_us = job.run_us
    if placement is not None and placement.metered_from is not None:
        run_us += max(0, round((datetime.now(UTC) - placement.metered_from).total_seconds() * 1_000_000))
    spec = JobSpec.model_validate(job.spec)
    return JobOut(
        id=job.id,
        name=job.name,
        state=JobState(job.state),
        reason=job.reason,
        detail=job.detail,
        exit_code=job.exit_code,
        spec=spec,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        placement=None if placement is None else _placement_out(placement),
        placements_count=count,
        last_checkpoint_at=job.checkpoint_at,
        checkpoints_count=job.checkpoints_count,
        progress=_progress(job.progress, live),
        waiting=_waiting(job),
        standby=standby,
        promise=promise_of(
            spec,
            None if placement is None or job.state in PLACEABLE else placement.transparent,
            standby_ready=None if standby is None else standby.state == "ready",
        ),
        charged_micros=job.charged_micros,
        refunded_micros=job.refunded_micros,
        running_s=run_us / 1_000_000,
    )


def _waiting(job: Job) -> WaitingOut | None:
    if job.state not in PLACEABLE:
        return None
    known = job.waiting or {}
    held_back = job.held_back_until is not None and job.held_back_until > datetime.now(UTC)
    if not known and not held_back:
        return None
    return WaitingOut(
        summary=known.get("summary") or "It keeps a pause before it is placed again.",
        hints=[HintOut.model_validate(hint) for hint in known.get("hints", [])],
        next_attempt_at=job.next_attempt_at,
        held_back_until=job.held_back_until if held_back else None,
    )


def _notice(placement: Placement) -> NoticeOut | None:
    if placement.notice_reason is None or placement.ended_at is not None:
        return None
    assert placement.notice_at is not None
    assert placement.notice_deadline_at is not None
    return NoticeOut(
        reason=NoticeReason(placement.notice_reason),
        sentence=placement.moving_reason or "",
        given_at=placement.notice_at,
        deadline_at=placement.notice_deadline_at,
        stops_at=placement.stop_due_at,
    )


def _progress(stored: dict[str, Any] | None, live: dict[str, Any] | None) -> ProgressOut | None:
    known = live if live is not None and live.get("step") is not None else stored
    if known is None or known.get("step") is None:
        return None
    return ProgressOut(
        step=known["step"],
        total_steps=known.get("total_steps") or (stored or {}).get("total_steps"),
        metrics=known.get("metrics") or {},
    )


def _placement_out(placement: Placement) -> PlacementOut:
    return PlacementOut(
        id=placement.id,
        epoch=placement.epoch,
        state=PlacementState(placement.state),
        outcome=placement.outcome,
        node_id=placement.node_id,
        node_name=placement.node_name,
        gpu_model=placement.gpu_model,
        gpus=len(placement.device_uuids),
        region=placement.region,
        simulated=placement.simulated,
        booking_id=placement.booking_id,
        rate_per_hour_micros=placement.rate_per_hour_micros,
        created_at=placement.created_at,
        running_at=placement.running_at,
        ended_at=placement.ended_at,
        checkpoint_interval=None
        if placement.checkpoint_interval is None
        else CheckpointIntervalOut.model_validate(placement.checkpoint_interval),
        arriving=None if placement.arriving is None else ArrivingOut.model_validate(placement.arriving),
        notice=_notice(placement),
        recovery_ms=placement.recovery,
    )
