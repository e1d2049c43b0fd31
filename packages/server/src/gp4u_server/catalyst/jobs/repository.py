"""Every query on jobs and placements. Rows that are modified are locked first: job, then placement."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from gp4u_protocol.job_spec import JobSpec
from gp4u_protocol.messages import DesiredRun
from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.models import Job, Placement
from gp4u_server.catalyst.jobs.notice import LiveRun, NoticeReason
from gp4u_server.catalyst.jobs.types import FINAL_JOB_STATES, JobState, Outcome, PlacementState

_LIVE = Placement.state != PlacementState.ENDED.value
_OPEN = Job.state.not_in([state.value for state in FINAL_JOB_STATES])


async def get_job(session: AsyncSession, job_id: str) -> Job | None:
    """The row as it is now, unlocked."""
    return await session.get(Job, job_id, populate_existing=True)


async def lock_job(session: AsyncSession, job_id: str, *, skip_locked: bool = False) -> Job | None:
    """The row, locked for this transaction. None when missing, or taken with `skip_locked`."""
    statement = (
        select(Job)
        .where(Job.id == job_id)
        .with_for_update(key_share=True, skip_locked=skip_locked)
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(statement)).one_or_none()


async def lock_due_job(session: AsyncSession, job_id: str) -> bool:
    """Lock a job that is (still) due to be placed. False when its time has not come, or somebody else has it."""
    statement = (
        select(Job.id)
        .where(
            Job.id == job_id,
            Job.state.in_([JobState.RECOVERING.value, JobState.QUEUED.value]),
            Job.next_attempt_at <= func.clock_timestamp(),
        )
        .with_for_update(key_share=True, skip_locked=True)
    )
    return await session.scalar(statement) is not None


async def lock_live_placement(session: AsyncSession, job: Job) -> Placement | None:
    """The job's placement that has not ended; the caller holds the job's lock."""
    return await _lock_placement(session, Placement.job_id == job.id, _LIVE)


async def lock_placement(session: AsyncSession, placement_id: str) -> tuple[Job, Placement] | None:
    """A placement and its job, both locked, the job first."""
    job_id = await session.scalar(select(Placement.job_id).where(Placement.id == placement_id))
    if job_id is None or (job := await lock_job(session, job_id)) is None:
        return None
    placement = await _lock_placement(session, Placement.id == placement_id)
    return None if placement is None else (job, placement)


async def _lock_placement(session: AsyncSession, *where: ColumnElement[bool]) -> Placement | None:
    statement = (
        select(Placement)
        .where(*where)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(statement)).one_or_none()


async def placements_of(session: AsyncSession, job_id: str) -> Sequence[Placement]:
    """All placements of a job, newest first."""
    statement = (
        select(Placement)
        .where(Placement.job_id == job_id)
        .order_by(Placement.epoch.desc())
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(statement)).all()


async def newest_placements(
    session: AsyncSession, job_ids: Sequence[str]
) -> dict[str, tuple[Placement, int]]:
    """Of each job its newest placement and how many it had."""
    if not job_ids:
        return {}
    newest = (
        select(Placement.job_id, func.max(Placement.epoch).label("epoch"), func.count().label("count"))
        .where(Placement.job_id.in_(job_ids))
        .group_by(Placement.job_id)
        .subquery()
    )
    statement = (
        select(Placement, newest.c.count)
        .join(newest, (newest.c.job_id == Placement.job_id) & (newest.c.epoch == Placement.epoch))
        .execution_options(populate_existing=True)
    )
    return {placement.job_id: (placement, count) for placement, count in await session.execute(statement)}


async def newest_outcome(session: AsyncSession, job_id: str) -> str | None:
    """How the job's newest placement ended; None when it lives, or there was none."""
    statement = (
        select(Placement.outcome).where(Placement.job_id == job_id).order_by(Placement.epoch.desc()).limit(1)
    )
    outcome: str | None = await session.scalar(statement)
    return outcome


async def setbacks(session: AsyncSession, job_id: str, limit: int) -> Sequence[tuple[str, datetime]]:
    """(node, instant) of the newest runs of a job that a node lost or could not start."""
    statement = (
        select(Placement.node_id, Placement.ended_at)
        .where(
            Placement.job_id == job_id,
            Placement.outcome.in_([Outcome.LOST.value, Outcome.START_FAILED.value]),
            Placement.ended_at.is_not(None),
        )
        .order_by(Placement.epoch.desc())
        .limit(limit)
    )
    return [(row.node_id, row.ended_at) for row in await session.execute(statement)]


async def wake_waiting(
    session: AsyncSession, *, gpus: int, vram_gb: int, region: str, limit: int
) -> Sequence[str]:
    """Let at most `limit` jobs that wait for capacity be tried now, recovering ones first, then the oldest.

    Those whose plain numbers a node of this size cannot meet sleep on. A job that is just being placed is waited for
    (its try may not have seen what came free); one that pauses (after a failed start, an unconfirmed move, or because it
    was preempted again and again) keeps its pause.
    """
    statement = text(
        """
        WITH picked AS (
            SELECT id FROM jobs
            WHERE state IN ('queued', 'recovering') AND next_attempt_at IS NOT NULL
              AND (attempts > 0 OR start_failures = 0)
              AND (held_back_until IS NULL OR held_back_until <= clock_timestamp())
              AND (spec->'resources'->>'gpus')::int <= :gpus
              AND (spec->'resources'->>'vram_gb_min')::int <= :vram_gb
              AND (spec->'resources'->'regions' = '[]' OR EXISTS (
                    SELECT 1 FROM jsonb_array_elements_text(spec->'resources'->'regions') AS wanted
                    WHERE lower(wanted) = :region))
            ORDER BY state DESC, id LIMIT :limit
        ), locked AS (
            SELECT id FROM jobs
            WHERE id IN (SELECT id FROM picked) AND state IN ('queued', 'recovering')
              AND next_attempt_at IS NOT NULL
            ORDER BY id FOR NO KEY UPDATE
        )
        UPDATE jobs SET next_attempt_at = least(next_attempt_at, clock_timestamp())
        FROM locked WHERE jobs.id = locked.id
        RETURNING jobs.id
        """
    )
    values = {"gpus": gpus, "vram_gb": vram_gb, "region": region, "limit": limit}
    return list((await session.scalars(statement, values)).all())


async def runs_on(session: AsyncSession, node_ids: Sequence[str]) -> list[LiveRun]:
    """Live placements on these nodes whose jobs were not told to end."""
    if not node_ids:
        return []
    statement = (
        select(Job, Placement)
        .join(Placement, Placement.job_id == Job.id)
        .where(Placement.node_id.in_(node_ids), _LIVE, Job.stop_reason.is_(None))
        .order_by(Job.id)
        .execution_options(populate_existing=True)
    )
    return [_live_run(job, placement) for job, placement in await session.execute(statement)]


async def under_notice(session: AsyncSession, limit: int) -> list[LiveRun]:
    """Live placements that are going to be told to stop."""
    statement = (
        select(Job, Placement)
        .join(Placement, Placement.job_id == Job.id)
        .where(Placement.stop_due_at.is_not(None), _LIVE)
        .order_by(Job.id)
        .limit(limit)
        .execution_options(populate_existing=True)
    )
    return [_live_run(job, placement) for job, placement in await session.execute(statement)]


def _live_run(job: Job, placement: Placement) -> LiveRun:
    spec = JobSpec.model_validate(job.spec)
    began = job.started_at or placement.created_at
    return LiveRun(
        job_id=job.id,
        placement_id=placement.id,
        node_id=placement.node_id,
        device_uuids=tuple(placement.device_uuids),
        kind=spec.kind,
        rate_per_hour_micros=placement.rate_per_hour_micros,
        created_at=placement.created_at,
        ends_by=began + timedelta(seconds=spec.duration_s_max),
        checkpoint_cost_s=None if job.checkpoint_cost_ms is None else job.checkpoint_cost_ms / 1000,
        notice_reason=NoticeReason(placement.notice_reason) if placement.notice_reason else None,
        is_stopping=placement.desired == DesiredRun.STOP.value,
    )


async def due_moves(session: AsyncSession, limit: int) -> list[str]:
    """Jobs whose notice is over, the longest due first."""
    statement = (
        select(Placement.job_id)
        .where(Placement.stop_due_at <= func.clock_timestamp(), _LIVE)
        .order_by(Placement.stop_due_at)
        .limit(limit)
    )
    return list((await session.scalars(statement)).all())


async def wake(session: AsyncSession, job_ids: Sequence[str]) -> Sequence[str]:
    """Let these jobs be tried now, if they wait; in the order of their ids."""
    statement = text(
        """
        WITH locked AS (
            SELECT id FROM jobs
            WHERE id = ANY(:ids) AND state IN ('queued', 'recovering') AND next_attempt_at IS NOT NULL
            ORDER BY id FOR NO KEY UPDATE
        )
        UPDATE jobs SET next_attempt_at = least(next_attempt_at, clock_timestamp())
        FROM locked WHERE jobs.id = locked.id
        RETURNING jobs.id
        """
    )
    return list((await session.scalars(statement, {"ids": list(job_ids)})).all())


async def unsettled_jobs(session: AsyncSession, limit: int) -> list[str]:
    """Jobs of lost placements that are not settled and due for it, the oldest first."""
    statement = (
        select(Placement.job_id)
        .where(Placement.settle_at <= func.clock_timestamp())
        .order_by(Placement.settle_at)
        .limit(limit)
    )
    return list((await session.scalars(statement)).all())


async def lock_unsettled_placement(session: AsyncSession, job: Job) -> Placement | None:
    """The job's lost placement that is not settled; the caller holds the job's lock."""
    return await _lock_placement(session, Placement.job_id == job.id, Placement.settle_at.is_not(None))


async def put_off_settling(session: AsyncSession, job_id: str, pause_s: float) -> None:
    """Not due before `pause_s` from now."""
    await session.execute(
        update(Placement)
        .where(Placement.job_id == job_id, Placement.settle_at.is_not(None))
        .values(settle_at=func.clock_timestamp() + timedelta(seconds=pause_s))
    )


async def asked_stops(session: AsyncSession, limit: int) -> list[str]:
    """Jobs whose stop was asked for and is due to begin, the oldest first."""
    statement = (
        select(Job.id)
        .where(Job.stop_asked_at <= func.clock_timestamp())
        .order_by(Job.stop_asked_at)
        .limit(limit)
    )
    return list((await session.scalars(statement)).all())


async def put_off_asked_stop(session: AsyncSession, job_id: str, pause_s: float) -> None:
    """Not due before `pause_s` from now."""
    await session.execute(
        update(Job)
        .where(Job.id == job_id, Job.stop_asked_at.is_not(None))
        .values(stop_asked_at=func.clock_timestamp() + timedelta(seconds=pause_s))
    )


async def node_of_placement(session: AsyncSession, placement_id: str) -> str | None:
    """Where a placement is or was."""
    node_id: str | None = await session.scalar(select(Placement.node_id).where(Placement.id == placement_id))
    return node_id


async def folder_wanted_at(session: AsyncSession, renter_id: str, upload_id: str) -> datetime | None:
    """When a job of this renter last needed an upload: now while one is open."""
    newest: datetime | None = await session.scalar(
        select(func.max(func.coalesce(Job.ended_at, func.clock_timestamp()))).where(
            Job.renter_id == renter_id, Job.spec["upload_id"].astext == upload_id
        )
    )
    return newest


async def live_on_node(session: AsyncSession, node_id: str) -> Sequence[tuple[Job, Placement]]:
    """What a node should run, unlocked."""
    return await live_on_nodes(session, [node_id])


async def live_on_nodes(session: AsyncSession, node_ids: Sequence[str]) -> Sequence[tuple[Job, Placement]]:
    """What these nodes should run, unlocked."""
    statement = (
        select(Job, Placement)
        .join(Placement, Placement.job_id == Job.id)
        .where(Placement.node_id.in_(node_ids), _LIVE)
        .order_by(Placement.id)
        .execution_options(populate_existing=True)
    )
    return [(job, placement) for job, placement in await session.execute(statement)]


async def page_of_jobs(
    session: AsyncSession,
    renter_id: str | None,
    states: Sequence[JobState],
    before_id: str | None,
    limit: int,
) -> Sequence[Job]:
    """Jobs newest first; of everybody when `renter_id` is None."""
    statement = select(Job).order_by(Job.id.desc()).limit(limit).execution_options(populate_existing=True)
    if renter_id is not None:
        statement = statement.where(Job.renter_id == renter_id)
    if states:
        statement = statement.where(Job.state.in_([state.value for state in states]))
    if before_id is not None:
        statement = statement.where(Job.id < before_id)
    return (await session.scalars(statement)).all()


async def due_jobs(session: AsyncSession, limit: int) -> list[str]:
    """Ids of jobs that wait for a placement and whose time has come. Recovering ones go first."""
    statement = (
        select(Job.id)
        .where(
            Job.state.in_([JobState.RECOVERING.value, JobState.QUEUED.value]),
            Job.next_attempt_at <= func.now(),
        )
        .order_by(Job.state.desc(), Job.next_attempt_at)
        .limit(limit)
    )
    return list((await session.scalars(statement)).all())


async def next_due_in_s(session: AsyncSession) -> float | None:
    """Seconds until the next job becomes due; None when none waits."""
    statement = text(
        "SELECT extract(epoch FROM min(next_attempt_at) - clock_timestamp()) FROM jobs "
        "WHERE state IN ('queued', 'recovering')"
    )
    seconds = await session.scalar(statement)
    return None if seconds is None else float(seconds)


async def overdue_jobs(session: AsyncSession, queue_wait_s_max: float, limit: int) -> list[str]:
    """Open jobs that reached their longest duration or their deadline, or never ran and waited too long."""
    statement = (
        select(Job.id)
        .where(
            _OPEN,
            Job.stop_reason.is_(None),
            text(
                "(clock_timestamp() >= CASE WHEN started_at IS NOT NULL"
                " THEN started_at + make_interval(secs => (spec->>'duration_s_max')::float8)"
                " ELSE created_at + make_interval(secs => :wait) END"
                " OR clock_timestamp() >= created_at"
                " + make_interval(secs => (spec->'failover'->>'deadline_s')::float8))"
            ).bindparams(wait=queue_wait_s_max),
        )
        .limit(limit)
    )
    return list((await session.scalars(statement)).all())


async def unclaimed_placements(session: AsyncSession, after_s: float, limit: int) -> list[str]:
    """Placements offered longer ago than `after_s` that no node has claimed, although it could: an outage of ours, when
    its gateway could neither offer nor take a claim, does not count."""
    statement = (
        select(Placement.id)
        .where(
            Placement.state == PlacementState.OFFERED.value,
            text(
                "placements.created_at < clock_timestamp() - make_interval(secs => :after) AND NOT EXISTS ("
                " SELECT 1 FROM nodes n JOIN gateways g ON g.id = n.gateway_id"
                " WHERE n.id = placements.node_id AND n.liveness IN ('online', 'suspect') AND NOT ("
                "  greatest(n.session_began_at, g.unbroken_since) < clock_timestamp() - make_interval(secs => :after)"
                "  AND g.seen_at > clock_timestamp() - interval '5 seconds'))"
            ).bindparams(after=after_s),
        )
        .limit(limit)
    )
    return list((await session.scalars(statement)).all())


async def overdue_stops(session: AsyncSession, after_s: float, limit: int) -> list[str]:
    """Placements told to stop longer ago than `after_s` that have not ended."""
    statement = (
        select(Placement.id)
        .where(
            _LIVE,
            text("stop_requested_at < clock_timestamp() - make_interval(secs => :after)").bindparams(
                after=after_s
            ),
        )
        .limit(limit)
    )
    return list((await session.scalars(statement)).all())
