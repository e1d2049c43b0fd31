"""Every query of meters, intervals and postings."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func as sql
from sqlalchemy import insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.billing.metering import Interval, Meter, Posting
from gp4u_server.billing.models import MeterRow, PostingRow, UsageIntervalRow
from gp4u_server.billing.types import Why


async def locked_meter(session: AsyncSession, booking_id: str) -> MeterRow | None:
    """The meter, locked until the transaction ends and read after the lock was had."""
    return (
        await session.execute(
            select(MeterRow)
            .where(MeterRow.booking_id == booking_id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).scalar_one_or_none()


async def meter(session: AsyncSession, booking_id: str) -> MeterRow | None:
    """The meter without a lock."""
    return (
        await session.execute(
            select(MeterRow)
            .where(MeterRow.booking_id == booking_id)
            .execution_options(populate_existing=True)
        )
    ).scalar_one_or_none()


async def state_of(session: AsyncSession, row: MeterRow) -> Meter:
    """The pure meter of a row and its intervals."""
    rows = await session.execute(
        select(UsageIntervalRow.seq, UsageIntervalRow.started_at, UsageIntervalRow.ended_at)
        .where(UsageIntervalRow.booking_id == row.booking_id)
        .order_by(UsageIntervalRow.seq)
    )
    return Meter(
        rate_per_hour_micros=row.rate_per_hour_micros,
        owner_share_percent=row.owner_share_percent,
        intervals=tuple(Interval(seq, started_at, ended_at) for seq, started_at, ended_at in rows),
        floor=row.floor_at,
        lost_from=row.lost_from,
        net_micros=row.charged_micros - row.refunded_micros,
        ended_at=row.ended_at,
    )


def timed_as(job_id: str, beside_booking_id: str | None) -> str:
    """Whose time a meter counts, and of whom no two intervals may overlap: the job's, or that of its standbys."""
    return job_id if beside_booking_id is None else f"{job_id}:standby"


async def store_interval(session: AsyncSession, row: MeterRow, interval: Interval) -> None:
    """Insert an interval, or give it its end."""
    statement = upsert(UsageIntervalRow).values(
        job_id=timed_as(row.job_id, row.beside_booking_id),
        epoch=row.epoch,
        seq=interval.seq,
        booking_id=row.booking_id,
        started_at=interval.started_at,
        ended_at=interval.ended_at,
    )
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["job_id", "epoch", "seq"], set_={"ended_at": statement.excluded.ended_at}
        )
    )


async def end_of_job_time(session: AsyncSession, job_id: str) -> datetime | None:
    """The end of the metered time so far of a job (or what `timed_as` names). An interval still open counts from its start."""
    column = sql.coalesce(UsageIntervalRow.ended_at, UsageIntervalRow.started_at)
    return (
        await session.execute(select(sql.max(column)).where(UsageIntervalRow.job_id == job_id))
    ).scalar_one()


async def net_of_job(session: AsyncSession, job_id: str) -> int:
    """What all bookings and standbys of a job have cost so far, refunds taken off."""
    column = sql.coalesce(sql.sum(MeterRow.charged_micros - MeterRow.refunded_micros), 0)
    return int((await session.execute(select(column).where(MeterRow.job_id == job_id))).scalar_one())


async def beside(session: AsyncSession, booking_id: str) -> Sequence[MeterRow]:
    """The meters of the standbys that stood ready beside a booking, the oldest first."""
    rows = await session.scalars(
        select(MeterRow)
        .where(MeterRow.beside_booking_id == booking_id)
        .order_by(MeterRow.created_at)
        .execution_options(populate_existing=True)
    )
    return rows.all()


async def insert_meter(session: AsyncSession, values: dict[str, Any]) -> None:
    """A new meter."""
    await session.execute(insert(MeterRow).values(**values))


async def change_meter(session: AsyncSession, booking_id: str, **values: Any) -> None:
    """Change a meter that the caller has locked."""
    await session.execute(update(MeterRow).where(MeterRow.booking_id == booking_id).values(**values))


async def insert_posting(
    session: AsyncSession, row: MeterRow, transfer_id: str, at: datetime, posting: Posting, why: Why
) -> None:
    """The statement's line of a posting."""
    await session.execute(
        insert(PostingRow).values(
            transfer_id=transfer_id,
            booking_id=row.booking_id,
            renter_id=row.renter_id,
            owner_id=row.owner_id,
            at=at,
            through=posting.through,
            why=why,
            amount_micros=posting.amount_micros,
            owner_micros=posting.owner_micros,
            platform_micros=posting.platform_micros,
        )
    )


async def due(session: AsyncSession, now: datetime, limit: int) -> Sequence[tuple[str, str]]:
    """(booking, job) of meters to look at now: the longest due first."""
    rows = await session.execute(
        select(MeterRow.booking_id, MeterRow.job_id)
        .where(MeterRow.next_due_at <= now)
        .order_by(MeterRow.next_due_at)
        .limit(limit)
    )
    return [(row.booking_id, row.job_id) for row in rows]


async def unsettled(
    session: AsyncSession, *, now: datetime, ended_before: datetime, limit: int
) -> Sequence[tuple[str, str]]:
    """(booking, job) of meters that are over and not settled, without those that failed and are put off."""
    rows = await session.execute(
        select(MeterRow.booking_id, MeterRow.job_id)
        .where(
            MeterRow.ended_at < ended_before,
            MeterRow.settled_at.is_(None),
            or_(MeterRow.settle_at.is_(None), MeterRow.settle_at <= now),
        )
        .order_by(sql.coalesce(MeterRow.settle_at, MeterRow.ended_at))
        .limit(limit)
    )
    return [(row.booking_id, row.job_id) for row in rows]
