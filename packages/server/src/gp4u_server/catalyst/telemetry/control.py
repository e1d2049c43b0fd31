"""The controller's part: partitions ahead, old ones away, minutes from samples and hours from minutes."""

from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import text

from gp4u_server.catalyst.telemetry import partitions, repository
from gp4u_server.catalyst.telemetry.holds import DrainHolds
from gp4u_server.catalyst.telemetry.retention import Retention
from gp4u_server.catalyst.telemetry.summing import Resolution
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database

log = structlog.get_logger(__name__)

_ONE_AT_A_TIME = 0x7465_6C65  # "tele": one controller makes and drops partitions


@dataclass(frozen=True)
class PartitionLoop:
    """Makes partitions before they are needed and drops those that nobody may read any more, each in a transaction."""

    database: Database
    clock: Clock
    retention: Retention
    name: str = "telemetry_partitions"
    interval_s: float = 300.0
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """One look; answers 0, as nothing is left to do behind it. What fails is tried again at the next look."""
        now = self.clock.now()
        async with self.database.transaction() as session:
            standing = await partitions.standing(session)
            summed = {
                target: await repository.done_until(session, target)
                for target in (Resolution.MINUTE, Resolution.HOUR)
            }
        missing = [each for each in partitions.wanted(now) if each not in standing]
        for partition in missing:
            await self._change(partition, make=True)
        for partition in partitions.expired(standing, now, self.retention.as_table(), summed):
            await self._change(partition, make=False)
        return 0

    async def _change(self, partition: partitions.Partition, *, make: bool) -> None:
        async with self.database.transaction() as session:
            await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
            exists = partition in await partitions.standing(session)
            if exists == make:
                return  # another controller was first
            await (partitions.create if make else partitions.drop)(session, partition)
        log.info("telemetry_partition", table=partition.name, made=make)


@dataclass(frozen=True)
class RollupLoop:
    """Sums one table up into the next coarser one, from where it stopped.

    How far it is and what it wrote are committed together, and writing a bucket again writes the same: after a crash
    nothing is missing and nothing counts twice. Only what is new is read; a time without rows is skipped.
    """

    database: Database
    clock: Clock
    source: Resolution
    target: Resolution
    lag: timedelta
    """Buckets that ended so long ago are summed up; what comes later still pushes the mark back."""
    window: timedelta
    """The most that one step takes."""
    name: str
    interval_s: float
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """One step; answers 1 while there may be more to do."""
        now = self.clock.now()
        end = repository.floor(now - self.lag, self.target.step)
        async with self.database.transaction() as session:
            done = await repository.lock_rollup(session, self.target)
            if done is None or done >= end:
                return 0
            first = await repository.first_after(session, self.source, done)
            since = end if first is None else max(done, repository.floor(first, self.target.step))
            until = min(since + self.window, end)
            # What one table was summed up from must not change under it: minutes that are not there yet are waited for.
            if self.source is not Resolution.TEN_SECONDS:
                filled = await repository.done_until(session, self.source)
                until = min(until, repository.floor(filled, self.target.step)) if filled else since
            if until <= done:
                return 0
            await repository.roll_up(session, self.source, self.target, min(since, until), until)
        return int(until < end)


def rollup_loops(database: Database, clock: Clock) -> list[RollupLoop]:
    """Samples → minutes → hours."""
    return [
        RollupLoop(
            database,
            clock,
            Resolution.TEN_SECONDS,
            Resolution.MINUTE,
            lag=timedelta(seconds=30),
            window=timedelta(minutes=5),
            name="telemetry_minutes",
            interval_s=30.0,
        ),
        RollupLoop(
            database,
            clock,
            Resolution.MINUTE,
            Resolution.HOUR,
            lag=timedelta(minutes=5),
            window=timedelta(hours=6),
            name="telemetry_hours",
            interval_s=300.0,
        ),
    ]


@dataclass(frozen=True)
class HeldDrainsLoop:
    """Does what was decided about held drains, one node a transaction, at most a few a second: jobs that leave need room
    elsewhere, and whoever confirmed by mistake can still drain no more than went before."""

    database: Database
    holds: DrainHolds
    name: str = "held_drains"
    interval_s: float = 1.0
    batch: int = 5
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """Answers 0: what is left has its turn at the next look."""
        for _ in range(self.batch):
            async with self.database.transaction() as session:
                if not await self.holds.settle_one(session):
                    break
        return 0
