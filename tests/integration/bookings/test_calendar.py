"""Many clients race for devices; afterwards a sweep line in plain Python looks for two bookings of one GPU at a time."""

import asyncio
import random
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta

from gp4u_server.bookings import calendar, repository
from gp4u_server.bookings.errors import DevicesBooked
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

T0 = datetime(2026, 1, 1, tzinfo=UTC)
GPUS = [f"dev_{number}" for number in range(40)]
CLIENTS = 32
RACE_S = 8.0


async def book(database: Database, devices: list[str], start: datetime, end: datetime | None) -> str | None:
    booking_id = new_id("bkg")
    try:
        async with database.transaction() as session:
            await repository.insert_booking(
                session,
                {
                    "id": booking_id,
                    "kind": "on_demand",
                    "state": "held",
                    "renter_id": "usr",
                    "owner_id": "usr",
                    "job_id": "job",
                    "offer_id": "off",
                    "node_id": "node",
                    "node_name": "node",
                    "gpu_model": "RTX_4090",
                    "rate_per_hour_micros": 1,
                    "starts_at": start,
                    "ends_at": end or start + timedelta(days=365),
                },
            )
            await calendar.take(session, booking_id, devices, start, end)
    except DevicesBooked:
        return None
    return booking_id


async def cancel(database: Database, booking_id: str, at: datetime) -> None:
    async with database.transaction() as session:
        if await repository.end(session, booking_id, at) is not None:
            await calendar.give_back(session, booking_id, at)


async def client(database: Database, seed: int, deadline_s: float, counts: dict[str, int]) -> None:
    chance = random.Random(seed)
    mine: list[tuple[str, datetime, datetime | None]] = []
    while time.monotonic() < deadline_s:
        choice = chance.random()
        if choice < 0.6 or not mine:
            start = T0 + timedelta(minutes=chance.randrange(0, 600))
            end = None if chance.random() < 0.1 else start + timedelta(minutes=chance.randrange(1, 30))
            made = await book(database, chance.sample(GPUS, chance.randrange(1, 4)), start, end)
            counts["booked" if made else "refused"] += 1
            if made:
                mine.append((made, start, end))
        elif choice < 0.8:
            booking_id, start, end = chance.choice(mine)
            until = (end or start) + timedelta(minutes=chance.randrange(1, 30))
            try:
                async with database.transaction() as session:
                    done = await calendar.extend(session, booking_id, until)
                counts["extended" if done else "not extended"] += 1
            except DevicesBooked:
                counts["extension refused"] += 1
            except OperationalError:
                counts["deadlock"] += (
                    1  # the database chose a victim: nothing happened, which is an answer too
                )
        else:
            booking_id, start, _ = mine.pop(chance.randrange(len(mine)))
            await cancel(database, booking_id, start + timedelta(minutes=chance.randrange(-5, 10)))
            counts["cancelled"] += 1


async def test_h1_double_booking_many_clients_never_overlap(database: Database) -> None:
    counts: dict[str, int] = defaultdict(int)
    deadline_s = time.monotonic() + RACE_S
    await asyncio.gather(*(client(database, seed, deadline_s, counts) for seed in range(CLIENTS)))
    assert min(counts["booked"], counts["refused"], counts["cancelled"], counts["extended"]) > 20, counts
    assert await overlaps(database) == []


async def overlaps(database: Database) -> list[str]:
    """A sweep over all starts and ends of live bookings, GPU by GPU; ends come before starts at the same instant."""
    async with database.transaction() as session:
        rows = await session.execute(
            text("SELECT device_id, booking_id, lower(during), upper(during) FROM booking_devices WHERE live")
        )
        edges: dict[str, list[tuple[datetime, int, str]]] = defaultdict(list)
        for device_id, booking_id, start, end in rows:
            edges[device_id].append((start, 1, booking_id))
            if end is not None:
                edges[device_id].append((end, 0, booking_id))
    found = []
    for device_id, changes in edges.items():
        running: set[str] = set()
        for at, begins, booking_id in sorted(changes):
            if begins:
                running.add(booking_id)
            else:
                running.discard(booking_id)
            if len(running) > 1:
                found.append(f"{device_id} at {at}: {sorted(running)}")
    return found


async def test_h1_double_booking_100_clients_on_one_slot_make_one(database: Database) -> None:
    made = await asyncio.gather(*(book(database, ["dev_1"], T0, None) for _ in range(100)))
    assert sum(booking is not None for booking in made) == 1


async def test_the_checker_sees_an_overlap(database: Database) -> None:
    """Without the constraint the race would be found: the checker is no ornament."""
    async with database.transaction() as session:
        await session.execute(text("ALTER TABLE booking_devices DROP CONSTRAINT ex_booking_devices_overlap"))
    await book(database, ["dev_1"], T0, T0 + timedelta(hours=2))
    await book(database, ["dev_1"], T0 + timedelta(hours=1), None)
    assert len(await overlaps(database)) == 1


async def test_neighbours_in_time_share_a_gpu(database: Database) -> None:
    noon = T0 + timedelta(hours=12)
    first = await book(database, ["dev_1"], T0, noon)
    assert await book(database, ["dev_1"], noon, None)
    assert first is not None
    async with database.transaction() as session:
        assert await calendar.give_back(session, first, T0) == ["dev_1"]
        assert await calendar.give_back(session, first, T0) == []
        assert not await calendar.extend(session, first, noon)
