"""Readings in PostgreSQL: stored once, summed up as plain arithmetic says, dropped when their time is over."""

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from gp4u_server.catalyst.telemetry import partitions, repository
from gp4u_server.catalyst.telemetry.control import PartitionLoop, RollupLoop, rollup_loops
from gp4u_server.catalyst.telemetry.metrics import DEVICE_METRICS
from gp4u_server.catalyst.telemetry.reading import snapshot_of
from gp4u_server.catalyst.telemetry.repository import SampleRow
from gp4u_server.catalyst.telemetry.retention import Retention
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.catalyst.telemetry.summing import Resolution
from gp4u_server.foundation.events import EventBus
from gp4u_server.foundation.outbox import PostgresOutbox
from gp4u_server.kit.clock import ManualClock
from gp4u_server.kit.db import Database
from gp4u_server.market.catalogue import load as load_catalogue
from gp4u_server.nodes.service import NodeService
from sqlalchemy import text

START = datetime(2026, 3, 31, 22, 0, tzinfo=UTC)  # across the end of a month
KEEP = Retention(timedelta(hours=24), timedelta(days=31), None)
GPU = "GPU-1"


class Keeping:
    """The tables, the loops and the clock of one test."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = ManualClock(current=START)
        bus = EventBus(PostgresOutbox())
        nodes = NodeService(bus, self.clock, load_catalogue(), allow_simulated=True)
        self.service = TelemetryService(bus, self.clock, nodes)
        self.minutes, self.hours = rollup_loops(database, self.clock)

    async def store(self, rows: Sequence[SampleRow]) -> int:
        async with self.database.transaction() as session:
            return await self.service.store(session, rows)

    async def tend(self, retention: Retention = KEEP) -> None:
        await PartitionLoop(self.database, self.clock, retention).run_once()

    async def sum_up(self) -> None:
        for loop in (self.minutes, self.hours):
            while await loop.run_once():
                pass

    async def standing(self) -> set[str]:
        async with self.database.transaction() as session:
            return {each.name for each in await partitions.standing(session)}

    async def table(self, resolution: Resolution) -> dict[tuple[datetime, str, str], tuple[list[float], ...]]:
        async with self.database.transaction() as session:
            rows = await session.execute(
                text(f"SELECT at, node_id, device_uuid, counts, means, lows, highs FROM {resolution.table}")
            )
            return {(row.at, row.node_id, row.device_uuid): tuple(row[3:]) for row in rows}


@pytest.fixture
async def keeping(database: Database) -> Keeping:
    made = Keeping(database)
    await made.tend()
    return made


def invented(seed: int, begin: datetime, minutes: int) -> list[SampleRow]:
    """Samples of two nodes with gaps, holes and unequal lengths, as they come."""
    chance = random.Random(seed)
    rows = []
    for node in ("node_a", "node_b"):
        for device in ("", GPU):
            for tick in range(minutes * 6):
                if chance.random() < 0.2:
                    continue
                at = begin + timedelta(seconds=10 * tick, milliseconds=chance.randrange(9_000))
                width = chance.choice((len(DEVICE_METRICS), 5))
                values = tuple(
                    None if chance.random() < 0.1 else round(chance.uniform(-5, 3000), 2)
                    for _ in range(width)
                )
                rows.append(SampleRow(at, node, device, values))
    return rows


def oracle(rows: Sequence[SampleRow], step: timedelta) -> dict[tuple[datetime, str, str, int], list[float]]:
    """The same by plain arithmetic: the values of each reading in each bucket."""
    found: dict[tuple[datetime, str, str, int], list[float]] = defaultdict(list)
    for row in rows:
        bucket = datetime.fromtimestamp(
            row.at.timestamp() // step.total_seconds() * step.total_seconds(), tz=UTC
        )
        for position, value in enumerate(row.values):
            if value is not None:
                found[bucket, row.node_id, row.device_uuid, position].append(value)
    return found


async def agree(keeping: Keeping, rows: Sequence[SampleRow], resolution: Resolution, until: datetime) -> int:
    """Every bucket that ended before `until` is what the oracle says, and there is no other. Answers how many values."""
    stored = await keeping.table(resolution)
    expected = {key: of for key, of in oracle(rows, resolution.step).items() if key[0] < until}
    assert {key[:3] for key in expected} <= set(stored)
    assert all(key[0] < until for key in stored)
    for (at, node_id, device, position), values in expected.items():
        counts, means, lows, highs = (column[position] for column in stored[at, node_id, device])
        assert counts == len(values)
        assert means == pytest.approx(sum(values) / len(values), rel=1e-5, abs=1e-3)
        assert (lows, highs) == (pytest.approx(min(values)), pytest.approx(max(values)))
    assert sum(sum(columns[0]) for columns in stored.values()) == sum(map(len, expected.values()))
    return len(expected)


async def test_minutes_and_hours_are_what_plain_arithmetic_says(keeping: Keeping) -> None:
    rows = invented(1, START, 150)
    for part in range(0, len(rows), 400):
        await keeping.store(rows[part : part + 400])
    keeping.clock.advance(150 * 60 + 40)
    await keeping.sum_up()
    assert await agree(keeping, rows, Resolution.MINUTE, START + timedelta(minutes=150)) > 5_000
    assert await agree(keeping, rows, Resolution.HOUR, START + timedelta(minutes=120)) > 100


async def test_a_batch_that_is_written_again_is_stored_once(keeping: Keeping) -> None:
    rows = invented(2, START, 5)
    assert await keeping.store(rows) == len(rows)
    assert await keeping.store([*rows, SampleRow(START, "node_c", "", (1.0,))]) == 1


async def test_summing_up_that_crashed_is_repeated_without_harm(keeping: Keeping) -> None:
    rows = invented(3, START, 20)
    await keeping.store(rows)
    keeping.clock.advance(20 * 60 + 40)
    async with keeping.database.sessions() as session:  # the controller dies before its commit
        await repository.lock_rollup(session, Resolution.MINUTE)
        five = START + timedelta(minutes=5)
        await repository.roll_up(session, Resolution.TEN_SECONDS, Resolution.MINUTE, START, five)
    await keeping.sum_up()
    once = await keeping.table(Resolution.MINUTE)
    async with keeping.database.transaction() as session:  # the mark is lost: everything is summed up again
        await session.execute(text("DELETE FROM telemetry_rollups"))
    await keeping.sum_up()
    assert await keeping.table(Resolution.MINUTE) == once
    await agree(keeping, rows, Resolution.MINUTE, START + timedelta(minutes=20))


async def test_rows_that_come_late_are_summed_up_as_well(keeping: Keeping) -> None:
    rows = invented(4, START, 70)
    late = [row for row in rows if timedelta(minutes=30) <= row.at - START < timedelta(minutes=33)]
    await keeping.store([row for row in rows if row not in late])
    keeping.clock.advance(70 * 60 + 40)
    await keeping.sum_up()
    await keeping.store(late)
    await keeping.sum_up()
    await agree(keeping, rows, Resolution.MINUTE, START + timedelta(minutes=70))
    await agree(keeping, rows, Resolution.HOUR, START + timedelta(minutes=60))


async def test_a_step_reads_what_is_new_and_skips_what_is_empty(keeping: Keeping) -> None:
    await keeping.store(invented(5, START, 2))
    keeping.clock.advance(3 * 60)
    await keeping.sum_up()
    keeping.clock.advance(5 * 3600)
    await keeping.tend()
    await keeping.store(invented(6, keeping.clock.now() - timedelta(minutes=3), 2))
    assert await steps(keeping.minutes) == 1  # not sixty windows of nothing


async def steps(loop: RollupLoop) -> int:
    count = 1
    while await loop.run_once():
        count += 1
    return count


async def test_partitions_stand_ahead_and_go_when_their_time_is_over(keeping: Keeping) -> None:
    first = await keeping.standing()
    assert {"telemetry_10s_p2026033120", "telemetry_10s_p2026040104", "telemetry_1m_p20260401"} <= first
    assert {"telemetry_1h_p202603", "telemetry_1h_p202604"} <= first
    await keeping.store(invented(7, START, 2))
    keeping.clock.advance(26 * 3600)
    await keeping.tend()
    # Past its day, but not summed up yet: it stays.
    assert "telemetry_10s_p2026033122" in await keeping.standing()
    await keeping.sum_up()
    await keeping.tend()
    later = await keeping.standing()
    assert "telemetry_10s_p2026033122" not in later
    assert {"telemetry_1m_p20260331", "telemetry_1h_p202603"} <= later
    keeping.clock.advance(40 * 86_400)
    await keeping.sum_up()
    await keeping.tend()
    last = await keeping.standing()
    assert "telemetry_1m_p20260331" not in last
    assert "telemetry_1h_p202603" in last  # for ever
    await keeping.tend(Retention(KEEP.samples, KEEP.minutes, timedelta(days=5)))
    assert "telemetry_1h_p202603" not in await keeping.standing()


async def test_a_snapshot_knows_what_was_before_and_nothing_of_what_came_after(keeping: Keeping) -> None:
    def sample(seconds: float, celsius: float) -> SampleRow:
        return SampleRow(START + timedelta(seconds=seconds), "node_a", GPU, (50.0, 10.0, celsius))

    await keeping.store([sample(0, 60), sample(10, 61), sample(20, 90)])
    async with keeping.database.transaction() as session:
        before = await snapshot_of(session, "node_a", START + timedelta(seconds=15))
        assert before.node is None
        assert before.devices[GPU].values == {
            "utilisation_percent": 50,
            "memory_used_mb": 10,
            "temperature_c": 61,
        }
        assert (await snapshot_of(session, "node_a", START - timedelta(seconds=1))).devices == {}
        assert (await snapshot_of(session, "node_b", START + timedelta(seconds=15))).devices == {}
    keeping.clock.advance(200)
    await keeping.sum_up()
    async with keeping.database.transaction() as session:
        await session.execute(text("DELETE FROM telemetry_10s"))
        coarse = await snapshot_of(session, "node_a", START + timedelta(seconds=90))
        assert coarse.devices[GPU].values["temperature_c"] == pytest.approx((60 + 61 + 90) / 3)
        assert (await snapshot_of(session, "node_a", START + timedelta(seconds=50))).devices == {}
