"""Every query of bookings, but for their devices (`calendar.py`)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
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


async def live_since(session: AsyncSession, before: datetime, limit: int) -> Sequence[tuple[str, str]]:
    """(booking, job) of bookings that are not over and began before `before`, oldest first."""
    rows = await session.execute(
        select(BookingRow.id, BookingRow.job_id)
        .where(BookingRow.state != BookingState.ENDED, BookingRow.starts_at < before)
        .order_by(BookingRow.starts_at)
        .limit(limit)
    )
    return [(row.id, row.job_id) for row in rows]


async def live_of_job(session: AsyncSession, job_id: str) -> list[str]:
    """Bookings of a job that are not over."""
    rows = await session.execute(
        select(BookingRow.id).where(BookingRow.job_id == job_id, BookingRow.state != BookingState.ENDED)
    )
    return [booking_id for (booking_id,) in rows]


async def of_renter(
    session: AsyncSession, renter_id: str, *, before_id: str | None, limit: int
) -> list[BookingView]:
    """A renter's bookings, newest first."""
    statement = (
        select(BookingRow)
        .where(BookingRow.renter_id == renter_id)
        .order_by(BookingRow.id.desc())
        .limit(limit)
    )
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
            rate_per_hour_micros=row.rate_per_hour_micros,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            ended_at=row.ended_at,
        )
        for row in rows
    ]
