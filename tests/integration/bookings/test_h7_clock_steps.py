"""The server's clocks step while jobs run: the API's, and PostgreSQL's own.

PostgreSQL is made to believe it by a schema that stands before pg_catalog in the search path and holds `now()` and
`clock_timestamp()` of its own, moved by a row; every column default that asks for the time is pointed there too.
"""

import random
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from gp4u_protocol.messages import ActualState
from gp4u_server.catalyst.jobs.types import JobState
from gp4u_server.kit.db import connect
from sqlalchemy import text

from tests.checks.ledger import assert_ledger_balances
from tests.integration.bookings import world as worlds
from tests.integration.bookings.world import BookingWorld

HANDS = """
CREATE SCHEMA hands;
CREATE TABLE hands.hands (off_by interval NOT NULL);
INSERT INTO hands.hands VALUES ('0');
CREATE FUNCTION hands.now() RETURNS timestamptz STABLE LANGUAGE sql
    AS 'SELECT pg_catalog.now() + (SELECT off_by FROM hands.hands)';
CREATE FUNCTION hands.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
    AS 'SELECT pg_catalog.clock_timestamp() + (SELECT off_by FROM hands.hands)';
"""
POINT_DEFAULTS_THERE = """
SELECT format('ALTER TABLE %I ALTER COLUMN %I SET DEFAULT hands.%s', table_name, column_name, column_default)
FROM information_schema.columns
WHERE table_schema = 'public' AND column_default IN ('now()', 'clock_timestamp()')
"""
# Every pair of instants that some duration is counted from.
NEGATIVE_DURATIONS = """
SELECT 'interval of ' || booking_id FROM usage_intervals WHERE ended_at < started_at
UNION ALL SELECT 'placement ' || id || ' metered' FROM placements WHERE ended_at < metered_from
UNION ALL SELECT 'billed ' || booking_id FROM meters WHERE billed_us < 0 OR charged_micros < 0
UNION ALL SELECT 'run of ' || id FROM jobs WHERE run_us < 0
UNION ALL SELECT 'booked ' || booking_id FROM booking_devices WHERE isempty(during)
"""
HOUR_S = 3600.0


class Hands:
    """Both clocks, moved together."""

    def __init__(self, database_url: str) -> None:
        self.connection = psycopg.connect(database_url, autocommit=True)
        self.off_by_s = 0.0

    def step(self, seconds: float) -> None:
        self.off_by_s += seconds
        self.connection.execute("UPDATE hands.hands SET off_by = make_interval(secs => %s)", (self.off_by_s,))

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.off_by_s)

    def monotonic_s(self) -> float:
        return time.monotonic()


@pytest.mark.parametrize("seed", range(4))
async def test_h7_server_clock_steps_never_make_a_duration_negative_or_a_bill_longer(
    database_url: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Steps of up to an hour between any two things that happen; every second seed steps back only."""
    rng, only_back = random.Random(seed), seed % 2 == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(HANDS)
        for (statement,) in connection.execute(POINT_DEFAULTS_THERE).fetchall():
            connection.execute(statement)
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET search_path = hands, public, pg_catalog")
    hands, database = Hands(database_url), connect(database_url)
    monkeypatch.setattr(worlds, "SystemClock", lambda: hands)  # the clock of every service in this world
    world = BookingWorld(database)

    async def happens() -> None:
        hands.step(rng.choice([-HOUR_S, -60.0, -1.0, 0.0] if only_back else [-HOUR_S, -1.0, 0.0, HOUR_S]))
        await world.metering.run_once()
        await world.sweep.run_once()

    owner, renter = await world.person("Otto"), await world.renter()
    for _ in range(3):
        await world.offer(owner)
    hands.step(-HOUR_S)
    async with database.transaction() as session:
        believed = (await session.execute(text("SELECT clock_timestamp(), now()"))).one()
    assert all(abs(hands.now() - told) < timedelta(minutes=1) for told in believed), (
        "the steps reach the database"
    )
    for turn in range(4):
        began = time.monotonic()
        job = await world.submit(renter)
        await happens()
        first = await world.placement(job.id)
        await world.claim(first)
        await happens()
        await world.report(first, ActualState.RUNNING)
        await happens()
        last, bookings = first, [first.booking_id]
        if turn % 2:
            async with database.transaction() as session:
                await world.jobs.record_lease_interrupted(session, first.node_id, 5.0)
            await happens()
            async with database.transaction() as session:
                assert await world.jobs.record_node_lost(session, first.node_id, 9.0) == [job.id]
            await happens()
            await world.settle_loss(job.id)
            await happens()
            await world.place(job.id)
            last = await world.running(await world.job(job.id))
            assert last.epoch == 2
            await happens()
            bookings.append(last.booking_id)
        await world.report(last, ActualState.EXITED, exit_code=0)
        await happens()
        assert (await world.job(job.id)).state is JobState.DONE
        receipts = [await world.receipt(booking_id) for booking_id in bookings]
        assert all(receipt.final and receipt.billed_us >= 0 for receipt in receipts)
        if only_back:  # nobody pays for more time than there was
            assert sum(receipt.billed_us for receipt in receipts) <= (time.monotonic() - began) * 1e6
    async with database.transaction() as session:
        assert (await session.scalars(text(NEGATIVE_DURATIONS))).all() == []
    await assert_ledger_balances(database)
    await world.check_invariants()
    await database.close()
    hands.connection.close()
