"""The database under a raw race for GPUs: no code of ours between the clients and the constraint that has to hold.

Each client is a connection that runs a procedure: book, extend, cancel and expire at random, one transaction each. A
sweep line in plain Python judges what is left.
"""

import asyncio
import random
from collections import Counter

import psycopg
from gp4u_server.kit.db import Database
from sqlalchemy import text

from tests.checks.scale import SCALE, scaled
from tests.integration.bookings.test_calendar import T0, book, overlaps

CLIENTS = 64 if SCALE >= 10 else 16
GPUS = 500
ATTEMPTS = scaled(20_000)
ONE_SLOT_CLIENTS = scaled(200)

_RACE = """
CREATE PROCEDURE race(seed double precision, attempts int, client int) LANGUAGE plpgsql AS $$
DECLARE
    mine text[] := '{}';
    chosen text;
    starts timestamptz;
    ends timestamptz;
    booked int;
BEGIN
    PERFORM setseed(seed);
    FOR attempt IN 1 .. attempts LOOP
        IF random() < 0.6 OR cardinality(mine) = 0 THEN
            chosen := 'bkg_' || client || '_' || attempt;
            starts := timestamptz '2026-01-01Z' + floor(random() * 600) * interval '1 minute';
            ends := CASE WHEN random() < 0.02 THEN NULL
                         ELSE starts + ceil(random() * 30) * interval '1 minute' END;
            INSERT INTO bookings (id, kind, state, renter_id, owner_id, job_id, offer_id, node_id, node_name,
                                  gpu_model, rate_per_hour_micros, starts_at, ends_at)
            VALUES (chosen, 'on_demand', 'held', 'usr', 'usr', 'job', 'off', 'node', 'node', 'RTX_4090', 1, starts, starts);
            INSERT INTO booking_devices (booking_id, device_id, during, live)
            VALUES (chosen, 'dev_' || floor(random() * {gpus}), tstzrange(starts, ends), true) ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS booked = ROW_COUNT;
            IF booked = 1 THEN
                COMMIT;
                mine := mine || chosen;
            ELSE
                ROLLBACK;
            END IF;
        ELSIF random() < 0.5 THEN
            chosen := mine[1 + floor(random() * cardinality(mine))::int];
            BEGIN
                UPDATE booking_devices SET during = tstzrange(lower(during), upper(during) + interval '20 minutes')
                WHERE booking_id = chosen AND live;
            EXCEPTION WHEN exclusion_violation OR deadlock_detected THEN NULL;
            END;
            COMMIT;
        ELSE
            chosen := mine[1 + floor(random() * cardinality(mine))::int];
            UPDATE booking_devices SET live = false WHERE booking_id = chosen AND live;
            COMMIT;
            mine := array_remove(mine, chosen);
        END IF;
    END LOOP;
    COMMIT;
END $$
"""


async def test_h1_double_booking_a_raw_race_leaves_no_overlap(database: Database, database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(_RACE.replace("{gpus}", str(GPUS)))
    counts: Counter[str] = Counter()

    async def client(number: int) -> None:
        left, rng = ATTEMPTS // CLIENTS, random.Random(number)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            try:
                await connection.execute("CALL race(%s, %s, %s)", (rng.random(), left, number))
                counts["done"] += 1
            except psycopg.errors.DeadlockDetected:
                counts["deadlock"] += 1  # this client was the victim: nothing of its last attempt happened

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    async with database.transaction() as session:
        live, ended = (
            await session.execute(
                text(
                    "SELECT count(*) FILTER (WHERE live), count(*) FILTER (WHERE NOT live) FROM booking_devices"
                )
            )
        ).one()
    assert counts["done"] >= CLIENTS // 2, counts
    assert live > 1_000
    assert ended > 1_000
    assert await overlaps(database) == []


async def test_h1_double_booking_very_many_clients_on_one_slot_make_one(database: Database) -> None:
    """As many as there are, over the connections that one process has."""
    at_once = asyncio.Semaphore(20)  # as many as are kept open: opening more would be the slower race

    async def one() -> bool:
        async with at_once:
            return await book(database, ["dev_1"], T0, None) is not None

    made = await asyncio.gather(*(one() for _ in range(ONE_SLOT_CLIENTS)))
    assert sum(made) == 1
