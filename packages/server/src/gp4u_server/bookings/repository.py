"""Every query of bookings, but for their devices (`calendar.py`)."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from gp4u_protocol.job_spec import BookingKind
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.bookings import calendar
from gp4u_server.bookings.models import BookingRow
from gp4u_server.bookings.types import BookingState, BookingView


async def insert_booking(session: AsyncSession, values: dict[str, Any]) -> None:
    """A new booking."""
    await session.execute(insert(BookingRow).values(**values))


async def activate(session: AsyncSession, booking_id: str) -> None:
    """held → active; nothing else."""
    await session.execute(
        update(BookingRow)
        .where(BookingRow.id == booking_id, BookingRow.state == BookingState.HELD)
        .values(state=BookingState.ACTIVE)
    )


async def end(session: AsyncSession, booking_id: str, at: datetime) -> str | None:
    """→ ended; answers the offer, or None when the booking was over before (or never was)."""
    offer_id: str | None = (
        await session.execute(
            update(BookingRow)
            .where(BookingRow.id == booking_id, BookingRow.state != BookingState.ENDED)
            .values(state=BookingState.ENDED, ended_at=at)
            .returning(BookingRow.offer_id)
        )
    ).scalar_one_or_none()
    return offer_id


async def claim_checks(
    session: AsyncSession, *, now: datetime, next_at: datetime, limit: int
) -> Sequence[tuple[str, str]]:
    """(booking, job) of live bookings that are due for a look, the longest due first; they are due again at `next_at`.

    So whoever asks next gets others, and rows that another transaction is working on are passed over.
    """
    due = (
        select(BookingRow.id)
        .where(text("state <> 'ended'"), BookingRow.check_at <= now)
        .order_by(BookingRow.check_at)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
        .cte("due")
        # Materialised, because a planner that ran it twice would claim more than the limit.
        .prefix_with("MATERIALIZED")
    )
    rows = await session.execute(
        update(BookingRow)
        .where(BookingRow.id == due.c.id)
        .values(check_at=next_at)
        .returning(BookingRow.id, BookingRow.job_id)
    )
    return sorted((row.id, row.job_id) for row in rows)


async def note_failed_check(session: AsyncSession, booking_id: str) -> int:
    """Count one more failure in a row; answers how many."""
    counted = await session.execute(
        update(BookingRow)
        .where(BookingRow.id == booking_id)
        .values(check_failures=BookingRow.check_failures + 1)
        .returning(BookingRow.check_failures)
    )
    return counted.scalar_one_or_none() or 0


async def put_check_off(session: AsyncSession, booking_id: str, until: datetime) -> None:
    """Look at the booking again at `until` and not before."""
    await session.execute(update(BookingRow).where(BookingRow.id == booking_id).values(check_at=until))


async def live_of_job(session: AsyncSession, job_id: str) -> list[str]:
    """Bookings of a job that are not over."""
    rows = await session.execute(
        select(BookingRow.id).where(BookingRow.job_id == job_id, BookingRow.state != BookingState.ENDED)
    )
    return [booking_id for (booking_id,) in rows]


async def of_renter(
    session: AsyncSession,
    renter_id: str,
    *,
    job_id: str | None = None,
    states: Collection[BookingState] = (),
    before_id: str | None,
    limit: int,
) -> list[BookingView]:
    """A renter's bookings, newest first; of one job and in some states, if these are given."""
    statement = (
        select(BookingRow)
        .where(BookingRow.renter_id == renter_id)
        .order_by(BookingRow.id.desc())
        .limit(limit)
    )
    if job_id is not None:
        statement = statement.where(BookingRow.job_id == job_id)
    if states:
        statement = statement.where(BookingRow.state.in_(states))
    if before_id is not None:
        statement = statement.where(BookingRow.id < before_id)
    return await _views(session, list((await session.execute(statement)).scalars()))


async def one(session: AsyncSession, booking_id: str) -> BookingView | None:
    """One booking."""
    row = (
        await session.execute(
            select(BookingRow).where(BookingRow.id == booking_id).execution_options(populate_existing=True)
        )
    ).scalar_one_or_none()
    return None if row is None else (await _views(session, [row]))[0]


async def newest_of_job(session: AsyncSession, job_id: str) -> BookingView | None:
    """The job's newest booking."""
    row = (
        await session.execute(
            select(BookingRow).where(BookingRow.job_id == job_id).order_by(BookingRow.id.desc()).limit(1)
        )
    ).scalar_one_or_none()
    return None if row is None else (await _views(session, [row]))[0]


async def _views(session: AsyncSession, rows: Sequence[BookingRow]) -> list[BookingView]:
    devices = await calendar.devices_of(session, [row.id for row in rows])
    return [
        BookingView(
            id=row.id,
            job_id=row.job_id,
            renter_id=row.renter_id,
            owner_id=row.owner_id,
            offer_id=row.offer_id,
            node_id=row.node_id,
            node_name=row.node_name,
            gpu_model=row.gpu_model,
            device_ids=tuple(devices[row.id]),
            state=BookingState(row.state),
            kind=BookingKind(row.kind),
            rate_per_hour_micros=row.rate_per_hour_micros,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            ended_at=row.ended_at,
        )
        for row in rows
    ]
