"""The meter against an oracle that knows the truth, while the process that meters is killed at its statements.

The oracle only knows when each run truly held a valid lease and what was saved; it shares no code with the meter. The
script of a job is turned into facts as Catalyst would tell them, told at least once, with crashes before any
statement, before the commit, and after it (so that the teller does not know and tells again).
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from gp4u_server.billing import repository
from gp4u_server.billing.service import BillingService
from gp4u_server.kit.db import Database
from gp4u_server.kit.money import charge_for
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.checks.billing import OPERATOR, OWNER, RENTER, Books, new_meter

MONEY = 10**12


class Killed(Exception):
    """The process died here."""


@dataclass
class Killer:
    """Raises at the n-th statement from now."""

    countdown: int | None = None
    statements: int = 0

    def before_statement(self, *_: Any) -> None:
        self.statements += 1
        if self.countdown is not None:
            self.countdown -= 1
            if self.countdown < 0:
                self.countdown = None
                raise Killed


@asynccontextmanager
async def killing(database: Database) -> AsyncIterator[Killer]:
    killer = Killer()
    event.listen(database.engine.sync_engine, "before_cursor_execute", killer.before_statement)
    try:
        yield killer
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", killer.before_statement)


Use = Callable[[AsyncSession], Awaitable[object]]


@dataclass
class Truth:
    """What one placement truly ran, in microseconds: covered stretches, and where its saved work ends if it was lost."""

    booking_id: str
    rate: int
    covered: list[tuple[datetime, datetime]] = field(default_factory=list)
    saved_until: datetime | None = None
    lost: bool = False

    def price(self) -> int:
        microseconds = 0
        for start, end in self.covered:
            cut = min(end, self.saved_until) if self.lost and self.saved_until else end
            microseconds += max(0, (cut - start) // timedelta(microseconds=1))
        return charge_for(self.rate, microseconds)


@dataclass
class World:
    """Tells the facts of random jobs to billing, at least once, over a process that dies."""

    books: Books
    killer: Killer
    chance: random.Random
    death_rate: float
    truths: list[Truth] = field(default_factory=list)

    async def tell(self, use: Use) -> None:
        """Until the teller knows that it was done. It may have been done twice."""
        for _ in range(200):
            dies = self.chance.random() < self.death_rate
            self.killer.countdown = self.chance.randrange(0, 40) if dies else None
            try:
                async with self.books.database.transaction() as session:
                    await use(session)
                    if dies and self.chance.random() < 0.2:
                        raise Killed
            except Killed:
                continue
            finally:
                self.killer.countdown = None
            if self.chance.random() < self.death_rate / 3:
                continue  # committed, but the teller died before it knew
            return
        raise AssertionError("the world is too deadly")

    async def pass_time(self, booking_id: str) -> datetime:
        """Up to some minutes, with the metering loop looking in when it is due."""
        billing: BillingService = self.books.billing
        until = self.books.clock.now() + timedelta(microseconds=self.chance.randrange(1, 200_000_000))
        while True:
            async with self.books.database.transaction() as session:
                row = await repository.meter(session, booking_id)
            due = None if row is None else row.next_due_at
            if due is None or due > until or self.chance.random() < 0.1:
                break
            if due > self.books.clock.now():
                self.books.clock.current = due
            now = self.books.clock.now()
            await self.tell(lambda session, now=now: billing.post_due(session, booking_id, now))
        self.books.clock.current = max(until, self.books.clock.current)
        return self.books.clock.now()

    async def live(self, job: int) -> None:
        """One job: placements until it is done."""
        billing = self.books.billing
        for epoch in range(1, self.chance.randrange(2, 6)):
            truth = Truth(f"bkg_{job}_{epoch}", self.chance.randrange(1_000, 5_000_000))
            self.truths.append(truth)
            meter = new_meter(
                epoch,
                booking_id=truth.booking_id,
                job_id=f"job_{job}",
                rate_per_hour_micros=truth.rate,
                owner_id=self.chance.choice([OWNER, OPERATOR]),
            )
            # Booking is not repeated blindly: its own transaction either made it or not.
            async with self.books.database.transaction() as session:
                await billing.open_meter(session, meter)
            if self.chance.random() < 0.8:
                await self.run(truth)
            else:
                ended_at = await self.pass_time(truth.booking_id)
                await self.end(truth, ended_at)

    async def run(self, truth: Truth) -> None:
        billing, booking_id = self.books.billing, truth.booking_id
        started_at = self.books.clock.now()
        await self.tell(lambda session: billing.ran(session, booking_id, started_at))
        while True:
            now = await self.pass_time(booking_id)
            fate = self.chance.random()
            if fate < 0.3:
                truth.covered.append((started_at, now))
                await self.end(truth, now)
                return
            beat = max(started_at, now - timedelta(microseconds=self.chance.randrange(0, 8_000_000)))
            truth.covered.append((started_at, beat))
            await self.tell(lambda session, beat=beat: billing.interrupted(session, booking_id, beat))
            back = await self.pass_time(booking_id)
            if fate < 0.6:
                first = truth.covered[0][0]
                span = (beat - first) // timedelta(microseconds=1)
                truth.lost = True
                truth.saved_until = first + timedelta(microseconds=self.chance.randrange(0, span + 1))
                await self.end(truth, beat)
                return
            started_at = beat if self.chance.random() < 0.3 else back
            await self.tell(lambda session, at=started_at: billing.restored(session, booking_id, at))

    async def end(self, truth: Truth, at: datetime) -> None:
        await self.tell(
            lambda session: self.books.billing.end(
                session, truth.booking_id, at, lost=truth.lost, saved_until=truth.saved_until
            )
        )


async def check(books: Books, truths: list[Truth]) -> None:
    async with books.database.transaction() as session:
        rows = await session.execute(
            text(
                "SELECT booking_id, charged_micros - refunded_micros, written_off_micros, settled_at FROM meters"
            )
        )
        stored = {row[0]: row[1:] for row in rows}
    for truth in truths:
        net, written_off, settled_at = stored[truth.booking_id]
        assert net == truth.price(), truth
        assert written_off == 0
        assert settled_at is not None
    total = sum(truth.price() for truth in truths)
    assert await books.balance(f"wallet:{RENTER}") == MONEY - total
    earned = [await books.balance(name) for name in (f"earnings:{OWNER}", f"earnings:{OPERATOR}")]
    assert sum(earned) + await books.balance("platform:fees") == total


@pytest.mark.parametrize("seed", range(6))
async def test_h4_double_charge_and_h5_lost_charge_against_the_oracle(books: Books, seed: int) -> None:
    await books.fund(MONEY)
    async with killing(books.database) as killer:
        world = World(books, killer, random.Random(seed), death_rate=0.25)
        for job in range(8):
            await world.live(job)
    await check(books, world.truths)


async def test_h5_lost_charge_metering_killed_at_each_of_its_statements(books: Books) -> None:
    """Every single statement of a posting and of a settlement with lost work, one after the other."""
    await books.fund(MONEY)
    began = books.clock.now()
    async with books.database.transaction() as session:
        await books.billing.open_meter(session, new_meter())
        await books.billing.ran(session, "bkg_1", began)
    books.clock.advance(125)

    async def posting(session: AsyncSession) -> object:
        return await books.billing.post_due(session, "bkg_1", books.clock.now())

    async def settlement(session: AsyncSession) -> object:
        return await books.billing.end(
            session,
            "bkg_1",
            began + timedelta(seconds=124),
            lost=True,
            saved_until=began + timedelta(seconds=50),
        )

    async with killing(books.database) as killer:
        for use in (posting, settlement):
            before = await everything(books.database)
            deaths = 0
            while True:
                killer.countdown = deaths
                try:
                    async with books.database.transaction() as session:
                        await use(session)
                except Killed:
                    deaths += 1
                    assert await everything(books.database) == before
                    continue
                break
            killer.countdown = None
            assert deaths > 15  # it did die at many places
            assert await everything(books.database) != before
    assert await books.balance(f"wallet:{RENTER}") == MONEY - charge_for(440_000, 50_000_000)


async def everything(database: Database) -> list[str]:
    """All stored rows of money, as text."""
    rows = []
    async with database.transaction() as session:
        for table in (
            "ledger_accounts",
            "ledger_transfers",
            "ledger_entries",
            "meters",
            "usage_intervals",
            "postings",
        ):
            found = await session.execute(text(f"SELECT t::text FROM {table} t ORDER BY 1"))
            rows += [row[0] for row in found]
    return rows


async def test_h5_lost_charge_a_settlement_that_was_left_out_is_made_up(books: Books) -> None:
    await books.fund(MONEY)
    began = books.clock.now()
    async with books.database.transaction() as session:
        await books.billing.open_meter(session, new_meter())
        await books.billing.ran(session, "bkg_1", began)
    # As a release that did not settle in the same transaction might have left it.
    async with books.database.transaction() as session:
        ended_at = began + timedelta(seconds=90)
        await session.execute(text("UPDATE usage_intervals SET ended_at = :at"), {"at": ended_at})
        await session.execute(text("UPDATE meters SET ended_at = :at, next_due_at = NULL"), {"at": ended_at})
    async with books.database.transaction() as session:
        now = began + timedelta(seconds=100)
        left = await repository.unsettled(session, now=now, ended_before=now, limit=10)
        assert left == [("bkg_1", "job_1")]
        assert await books.billing.settle(session, "bkg_1")
        assert not await books.billing.settle(session, "bkg_1")
    assert await books.balance(f"wallet:{RENTER}") == MONEY - charge_for(440_000, 90_000_000)
