"""Every query of standbys."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.standby.models import LIVE, Standby, StandbyWatch
from gp4u_server.catalyst.standby.types import EndReason


async def insert(session: AsyncSession, **values: Any) -> Standby:
    """A new standby."""
    row = Standby(**values)
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return row


async def get(session: AsyncSession, standby_id: str) -> Standby | None:
    """One standby as it is now."""
    return await session.get(Standby, standby_id, populate_existing=True)


async def live_of(session: AsyncSession, job_id: str) -> Standby | None:
    """The job's standby that has not ended."""
    statement = (
        select(Standby).where(Standby.job_id == job_id, text(LIVE)).execution_options(populate_existing=True)
    )
    return (await session.scalars(statement)).one_or_none()


async def live_of_jobs(session: AsyncSession, job_ids: Sequence[str]) -> dict[str, Standby]:
    """job → its standby that has not ended."""
    if not job_ids:
        return {}
    rows = await session.scalars(select(Standby).where(Standby.job_id.in_(job_ids), text(LIVE)))
    return {row.job_id: row for row in rows}


async def live_on_node(session: AsyncSession, node_id: str) -> Sequence[Standby]:
    """What a node stands by for."""
    statement = select(Standby).where(Standby.node_id == node_id, text(LIVE)).order_by(Standby.id)
    return (await session.scalars(statement.execution_options(populate_existing=True))).all()


async def standing_by(session: AsyncSession, node_ids: Sequence[str]) -> set[str]:
    """Those of these nodes that stand by for anything."""
    return set(
        await session.scalars(select(Standby.node_id).where(Standby.node_id.in_(node_ids), text(LIVE)))
    )


async def spoken_for(session: AsyncSession) -> dict[str, int]:
    """node → GPUs that standbys count on there."""
    rows = await session.execute(
        select(Standby.node_id, func.sum(Standby.gpus)).where(text(LIVE)).group_by(Standby.node_id)
    )
    return {node_id: int(gpus) for node_id, gpus in rows}


async def unprepared_nodes(session: AsyncSession, job_id: str) -> set[str]:
    """Nodes that were given up because they did not get ready for this job."""
    statement = select(Standby.node_id).where(
        Standby.job_id == job_id, Standby.reason == EndReason.NOT_PREPARED.value
    )
    return set((await session.scalars(statement)).all())


async def next_number(session: AsyncSession, job_id: str) -> int:
    """Counts a job's standbys from 1. The job's row is locked, so no two get the same."""
    highest = await session.scalar(select(func.max(Standby.number)).where(Standby.job_id == job_id))
    return (highest or 0) + 1


async def unsettled(session: AsyncSession, job_id: str) -> Standby | None:
    """The job's oldest standby whose meter was not ended with it."""
    statement = (
        select(Standby)
        .where(Standby.job_id == job_id, text("state = 'ended' AND settled_at IS NULL"))
        .order_by(Standby.number)
        .limit(1)
    )
    return (await session.scalars(statement)).one_or_none()


async def fall_behind(session: AsyncSession, job_id: str, at: datetime) -> str | None:
    """A checkpoint was committed that the job's standby does not hold yet; answers the standby's node."""
    statement = (
        update(Standby)
        .where(Standby.job_id == job_id, text(LIVE))
        .values(behind_since=func.coalesce(Standby.behind_since, at))
        .returning(Standby.node_id)
    )
    node_id: str | None = (await session.execute(statement)).scalar_one_or_none()
    return node_id


# --- watches ---------------------------------------------------------------------------------------------


async def watch(session: AsyncSession, job_id: str, at: datetime) -> None:
    """Look at the job at `at`, or earlier when that was said before."""
    statement = upsert(StandbyWatch).values(job_id=job_id, next_at=at)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["job_id"],
            set_={"next_at": func.least(StandbyWatch.next_at, statement.excluded.next_at)},
        )
    )


async def watch_nodes(session: AsyncSession, node_ids: Sequence[str], at: datetime) -> int:
    """Look at every job that these nodes stand by for; answers how many."""
    jobs = select(Standby.job_id).where(Standby.node_id.in_(node_ids), text(LIVE))
    # Skipping what somebody is just looking at: its next look is seconds away, and nobody here may wait for it.
    chosen = (
        select(StandbyWatch.job_id)
        .where(StandbyWatch.job_id.in_(jobs))
        .order_by(StandbyWatch.job_id)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    woken = await session.scalars(
        update(StandbyWatch)
        .where(StandbyWatch.job_id.in_(chosen))
        .values(next_at=at)
        .returning(StandbyWatch.job_id)
    )
    return len(woken.all())


async def watch_of(session: AsyncSession, job_id: str) -> StandbyWatch | None:
    """A job's watch as it is now."""
    return await session.get(StandbyWatch, job_id, populate_existing=True)


async def watches_of_jobs(session: AsyncSession, job_ids: Sequence[str]) -> dict[str, StandbyWatch]:
    """job → its watch."""
    if not job_ids:
        return {}
    rows = await session.scalars(select(StandbyWatch).where(StandbyWatch.job_id.in_(job_ids)))
    return {row.job_id: row for row in rows}


async def put_off(session: AsyncSession, job_id: str, until: datetime, **values: Any) -> None:
    """Look at the job again at `until`."""
    await session.execute(
        update(StandbyWatch).where(StandbyWatch.job_id == job_id).values(next_at=until, **values)
    )


async def unwatch(session: AsyncSession, job_id: str) -> None:
    """The job needs no standby any more."""
    await session.execute(delete(StandbyWatch).where(StandbyWatch.job_id == job_id))


async def due(session: AsyncSession, limit: int) -> list[str]:
    """Jobs to look at now, the longest due first."""
    statement = (
        select(StandbyWatch.job_id)
        .where(StandbyWatch.next_at <= func.clock_timestamp())
        .order_by(StandbyWatch.next_at)
        .limit(limit)
    )
    return list((await session.scalars(statement)).all())
