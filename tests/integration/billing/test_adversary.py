"""Money under bad luck and bad will: other currencies, absurd prices, stops at any moment, bills recomputed by others."""

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gp4u_server.billing import repository
from gp4u_server.billing.control import MeteringLoop
from gp4u_server.billing.types import BillingTerms
from gp4u_server.kit.money import allocate, charge_for
from gp4u_server.market.schemas import PRICE_MICROS_MAX
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.checks.billing import OWNER, RENTER, Books, new_meter

RATE = 440_000
RATE_MAX = 64 * PRICE_MICROS_MAX  # the dearest offer, on as many GPUs as a job may have


def price(seconds: float, rate: int = RATE) -> int:
    return charge_for(rate, round(seconds * 1_000_000))


async def opened(books: Books, number: int = 1, **terms: object) -> datetime:
    """A meter that runs; answers since when."""
    async with books.database.transaction() as session:
        await books.billing.open_meter(session, new_meter(number, **terms))
        await books.billing.ran(session, f"bkg_{number}", books.clock.now())
    return books.clock.now()


async def posted(books: Books, number: int = 1) -> None:
    async with books.database.transaction() as session:
        await books.billing.post_due(session, f"bkg_{number}", books.clock.now())


async def ended(books: Books, number: int = 1, **how: Any) -> None:
    async with books.database.transaction() as session:
        await books.billing.end(session, f"bkg_{number}", books.clock.now(), **how)


async def bill(books: Books, number: int = 1) -> dict[str, Any]:
    """The receipt as its renter gets it: JSON, and nothing else to go by."""
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, f"bkg_{number}", RENTER)
    document: dict[str, Any] = receipt.model_dump(mode="json")
    return document


def recompute(receipt: dict[str, Any]) -> None:
    """What docs/api.md tells a renter to do with a bill, with its own arithmetic instead of ours."""
    billed_us = 0
    for line in receipt["lines"]:
        assert line["ended_at"] is not None
        spent = datetime.fromisoformat(line["ended_at"]) - datetime.fromisoformat(line["started_at"])
        assert spent >= timedelta(0)
        billed_us += (spent // timedelta(microseconds=1)) if line["billed"] else 0
    assert receipt["billed_us"] == billed_us
    exact, hour_us = billed_us * receipt["rate_per_hour_micros"], 3_600_000_000
    price, rest = exact // hour_us, exact % hour_us
    if 2 * rest > hour_us or (2 * rest == hour_us and price % 2):
        price += 1
    net = receipt["charged_micros"] - receipt["refunded_micros"]
    assert price == net + receipt["unpaid_micros"]
    share = receipt["owner_share_percent"]
    assert receipt["owner_micros"] + receipt["platform_micros"] == net
    assert abs(receipt["owner_micros"] * 100 - net * share) < 100


async def test_receipts_of_random_lives_can_be_recomputed_from_their_own_text(books: Books) -> None:
    """Ran, stood still, lost its node, ran out of money or of budget: the bill alone tells how it came about."""
    rng = random.Random(20261123)
    unpaid = 0
    for number in range(1, 31):
        rate = rng.randrange(1_000, 5_000_000)
        await books.fund(price(400, rate) if rng.random() < 0.4 else 50_000_000)
        budget = price(500, rate) if rng.random() < 0.3 else None
        await opened(
            books, number, job_id=f"job_{number}", rate_per_hour_micros=rate, budget_total_micros=budget
        )
        saved_until = None
        for _ in range(rng.randrange(1, 6)):
            books.clock.current += timedelta(microseconds=rng.randrange(1, 400_000_000))
            await posted(books, number)
            if rng.random() < 0.3:
                saved_until = books.clock.now() - timedelta(microseconds=rng.randrange(10_000_000))
            if rng.random() < 0.4:
                covered_until = books.clock.now() - timedelta(microseconds=rng.randrange(5_000_000))
                async with books.database.transaction() as session:
                    await books.billing.interrupted(session, f"bkg_{number}", covered_until)
                books.clock.current += timedelta(microseconds=rng.randrange(1, 9_000_000))
                async with books.database.transaction() as session:
                    await books.billing.restored(session, f"bkg_{number}", books.clock.now())
        await ended(books, number, lost=rng.random() < 0.4, saved_until=saved_until)
        receipt = await bill(books, number)
        assert receipt["final"]
        recompute(receipt)
        unpaid += receipt["unpaid_micros"] > 0
        # Whatever was left is out of the way, so that poor lives stay poor.
        await spend_all(books, number)
    assert unpaid >= 3


async def spend_all(books: Books, number: int) -> None:
    left = await books.balance(f"wallet:{RENTER}")
    if left:
        await books.fund(-left)


async def test_a_renter_who_stops_at_any_moment_pays_for_that_moment(books: Books) -> None:
    """Around every limit that the meter knows: nothing, an instant, the lag, each posting, and between them."""
    await books.fund(100_000_000)
    moments = [
        0,
        0.000001,
        0.5,
        4.999999,
        5,
        5.000001,
        59.999999,
        60,
        60.000001,
        65,
        119.5,
        120,
        170,
        179.999,
        601,
    ]
    spent = 0
    for number, seconds in enumerate(moments, 1):
        began = await opened(books, number, job_id=f"job_{number}")
        for minute in range(int(seconds) // 60 + 1):
            books.clock.current = began + min(timedelta(seconds=seconds), timedelta(seconds=60 * minute))
            await posted(books, number)
            hold, wallet = await books.balance(f"hold:bkg_{number}"), await books.balance(f"wallet:{RENTER}")
            charged = (await bill(books, number))["charged_micros"]
            assert hold == price(170)  # filled up again to a whole reserve at each posting
            assert hold + wallet + charged == 100_000_000 - spent
        books.clock.current = began + timedelta(seconds=seconds)
        await ended(books, number)
        receipt = await bill(books, number)
        assert receipt["charged_micros"] == price(seconds), seconds
        recompute(receipt)
        assert receipt["owner_micros"] == allocate(price(seconds), [80, 20])[0]
        spent += price(seconds)
        assert await books.balance(f"wallet:{RENTER}") == 100_000_000 - spent
    assert await books.balance(f"earnings:{OWNER}") + await books.balance("platform:fees") == spent


async def test_a_wallet_of_exactly_one_reserve_is_enough_and_ends_at_exactly_nothing(books: Books) -> None:
    await books.fund(price(170))
    await opened(books)
    assert await books.balance(f"wallet:{RENTER}") == 0
    for _ in range(34):
        books.clock.advance(5)
        await posted(books)
    await ended(books)
    receipt = await bill(books)
    assert (receipt["charged_micros"], receipt["unpaid_micros"]) == (price(170), 0)
    assert await books.balance(f"wallet:{RENTER}") == 0
    assert await books.balance("hold:bkg_1") == 0


async def test_money_that_comes_in_after_the_hold_ran_dry_pays_what_is_owed(books: Books) -> None:
    await books.fund(price(200))
    await opened(books)
    for _ in range(30):  # the job is asked to stop and does not
        books.clock.advance(10)
        await posted(books)
    dry = await bill(books)
    assert dry["charged_micros"] == price(200)
    assert dry["unpaid_micros"] > 0
    await books.fund(price(1000))
    books.clock.advance(60)
    await posted(books)
    await ended(books)
    receipt = await bill(books)
    assert (receipt["charged_micros"], receipt["unpaid_micros"]) == (price(360), 0)
    recompute(receipt)


async def test_the_dearest_offer_for_a_year_neither_overflows_nor_drifts(books: Books) -> None:
    await books.fund(2**59)
    await opened(books, rate_per_hour_micros=RATE_MAX)
    for _ in range(12):
        books.clock.advance(30.44 * 86_400)
        await posted(books)
    await ended(books)
    receipt = await bill(books)
    assert receipt["charged_micros"] == price(12 * 30.44 * 86_400, RATE_MAX) > 2**48
    recompute(receipt)


async def test_the_cheapest_offer_for_an_instant_costs_nothing_and_balances(books: Books) -> None:
    await books.fund(1_000_000)
    await opened(books, rate_per_hour_micros=1)
    books.clock.advance(1)
    await posted(books)
    await ended(books)
    receipt = await bill(books)
    assert (receipt["billed_us"], receipt["charged_micros"]) == (1_000_000, 0)
    recompute(receipt)
    assert await books.balance(f"wallet:{RENTER}") == 1_000_000


async def test_a_booking_keeps_its_currency_when_the_platform_changes_its_own(books: Books) -> None:
    """It was held in dollars, so it is filled up, charged and given back in dollars; euros are nobody's business."""
    await books.fund(10_000_000)
    await opened(books)
    books.billing = replace(books.billing, terms=BillingTerms(currency="EUR"))
    for _ in range(5):
        books.clock.advance(60)
        await posted(books)
    await ended(books)
    assert (await bill(books))["currency"] == "USD"
    assert await books.balance(f"wallet:{RENTER}") == 10_000_000 - price(300)
    async with books.database.transaction() as session:
        currencies = set(await session.scalars(text("SELECT DISTINCT currency FROM ledger_entries")))
        in_dollars = await books.statements.earnings(session, OWNER)
        statements = replace(books.statements, currency="EUR")
        wallet, earnings = await statements.wallet(session, RENTER), await statements.earnings(session, OWNER)
    assert currencies == {"USD"}
    assert in_dollars.earned_total_micros == in_dollars.earned_30d_micros > 0
    assert (wallet.available_micros, wallet.spent_30d_micros) == (0, 0)  # dollars are no euros
    assert (earnings.earned_total_micros, earnings.earned_30d_micros) == (0, 0)
    assert (earnings.by_node, earnings.by_day) == ([], [])


@dataclass(frozen=True)
class NoJobs:
    """The port `JobLock`: there are no jobs here."""

    async def lock_job(self, session: AsyncSession, job_id: str, *, skip_locked: bool = False) -> bool:
        return True


async def test_h27_a_whole_batch_of_meters_that_cannot_be_settled_starves_no_later_one(books: Books) -> None:
    await books.fund(10_000_000)
    for number in range(1, 5):
        await opened(books, number, job_id=f"job_{number}")
    books.clock.current += timedelta(seconds=20)
    async with books.database.transaction() as session:
        # As a release that did not settle in the same transaction might have left them, the first the oldest.
        await session.execute(
            text(
                "UPDATE meters SET next_due_at = NULL,"
                " ended_at = clock_timestamp() - interval '1 hour' + right(booking_id, 1)::int * interval '1 s'"
            )
        )
        await session.execute(text("UPDATE usage_intervals SET ended_at = started_at + interval '1 s'"))
        await session.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN RAISE EXCEPTION ''poison''; END'"
            )
        )
        await session.execute(
            text(
                "CREATE TRIGGER poison BEFORE UPDATE OF settled_at ON meters FOR EACH ROW"
                " WHEN (NEW.booking_id <> 'bkg_4') EXECUTE FUNCTION refuse()"
            )
        )
    loop = MeteringLoop(books.database, books.billing, NoJobs(), batch=3)
    await loop.run_once()
    await loop.run_once()
    assert await settled(books) == {"bkg_4"}
    assert await loop.run_once() == 0
    async with books.database.transaction() as session:
        now = await session.scalar(text("SELECT clock_timestamp()"))
        assert await repository.unsettled(session, now=now, ended_before=now, limit=9) == []  # put off
        await session.execute(text("DROP TRIGGER poison ON meters"))
        await session.execute(text("UPDATE meters SET settle_at = clock_timestamp() - interval '1 s'"))
    await loop.run_once()
    assert await settled(books) == {f"bkg_{number}" for number in range(1, 5)}


async def test_h27_a_meter_that_cannot_be_written_at_all_stops_no_other(books: Books) -> None:
    await books.fund(10_000_000)
    for number in (1, 2):
        await opened(books, number, job_id=f"job_{number}")
    async with books.database.transaction() as session:
        await session.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN RAISE EXCEPTION ''poison''; END'"
            )
        )
        await session.execute(
            text(
                "CREATE TRIGGER poison BEFORE UPDATE ON meters FOR EACH ROW"
                " WHEN (NEW.booking_id = 'bkg_1') EXECUTE FUNCTION refuse()"
            )
        )
    loop = MeteringLoop(books.database, books.billing, NoJobs())
    assert await loop.run_once() == 1
    assert (await bill(books, 2))["charged_micros"] > 0
    async with books.database.transaction() as session:
        await session.execute(text("DROP TRIGGER poison ON meters"))


async def settled(books: Books) -> set[str]:
    async with books.database.transaction() as session:
        return set(await session.scalars(text("SELECT booking_id FROM meters WHERE settled_at IS NOT NULL")))
