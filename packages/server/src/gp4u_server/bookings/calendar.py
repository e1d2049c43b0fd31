"""Which GPU is booked when. The database refuses overlaps; this module asks politely and translates the refusal.

An on-demand booking takes its GPUs until they are given back (no upper bound): a job that outlives its planned end
must not meet the next renter on the same GPU.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.bookings.errors import DevicesBooked
from gp4u_server.bookings.models import BookingDeviceRow

_INSTANT = timedelta(microseconds=1)


async def take(
    session: AsyncSession,
    booking_id: str,
    device_ids: Sequence[str],
    from_at: datetime,
    until: datetime | None = None,
) -> None:
    """Book GPUs for [from_at, until). Raises DevicesBooked when one is booked; then none is, and the session goes on."""
    # Sorted, so that two bookings of the same GPUs wait for each other in one direction only.
    rows = [
        {"booking_id": booking_id, "device_id": device_id, "during": Range(from_at, until), "live": True}
        for device_id in sorted(device_ids)
    ]
    async with session.begin_nested():
        taken = await session.execute(
            upsert(BookingDeviceRow).on_conflict_do_nothing().returning(BookingDeviceRow.device_id), rows
        )
        if len(taken.all()) < len(rows):
            raise DevicesBooked("Another booking has one of these GPUs at that time.")


async def extend(session: AsyncSession, booking_id: str, until: datetime) -> bool:
    """Keep a booking's GPUs until `until`; False (and nothing changed) for one that is over.

    Raises DevicesBooked when another booking follows too soon; then nothing changed, and the session goes on.
    """
    during = func.tstzrange(func.lower(BookingDeviceRow.during), until)
    try:
        async with session.begin_nested():
            changed = await session.execute(
                update(BookingDeviceRow)
                .where(
                    BookingDeviceRow.booking_id == booking_id,
                    BookingDeviceRow.live,
                    func.lower(BookingDeviceRow.during) < until,
                )
                .values(during=during)
                .returning(BookingDeviceRow.device_id)
            )
            return bool(changed.all())
    except IntegrityError as error:
        raise DevicesBooked("Another booking of these GPUs begins before that.") from error


async def give_back(session: AsyncSession, booking_id: str, at: datetime) -> list[str]:
    """End a booking's hold of its GPUs at `at` and answer which they were; empty when it was done before."""
    lower = func.lower(BookingDeviceRow.during)
    freed = await session.execute(
        update(BookingDeviceRow)
        .where(BookingDeviceRow.booking_id == booking_id, BookingDeviceRow.live)
        .values(live=False, during=func.tstzrange(lower, func.greatest(at, lower + _INSTANT)))
        .returning(BookingDeviceRow.device_id)
    )
    return sorted(device_id for (device_id,) in freed)


async def devices_of(session: AsyncSession, booking_ids: Sequence[str]) -> dict[str, list[str]]:
    """booking → its GPUs."""
    rows = await session.execute(
        select(BookingDeviceRow.booking_id, BookingDeviceRow.device_id)
        .where(BookingDeviceRow.booking_id.in_(booking_ids))
        .order_by(BookingDeviceRow.booking_id, BookingDeviceRow.device_id)
    )
    devices: dict[str, list[str]] = {booking_id: [] for booking_id in booking_ids}
    for booking_id, device_id in rows:
        devices[booking_id].append(device_id)
    return devices
