"""A booking's money from the hold to the settled bill, on a real PostgreSQL."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from gp4u_server.billing.errors import BookingNotFound, BudgetSpent, InsufficientFunds
from gp4u_server.billing.events import BudgetReached, ChargePosted, FundsExhausted
from gp4u_server.billing.types import PostingKind, Why
from gp4u_server.kit.money import allocate, charge_for
from sqlalchemy.ext.asyncio import AsyncSession

from tests.checks.billing import OPERATOR, OWNER, RENTER, Books, new_meter

RATE = 440_000


async def open_and_run(books: Books, number: int = 1, **changes: object) -> None:
    async with books.database.transaction() as session:
        await books.billing.open_meter(session, new_meter(number, **changes))
        await books.billing.ran(session, f"bkg_{number}", books.clock.now())


async def post(books: Books, booking_id: str = "bkg_1") -> bool:
    async with books.database.transaction() as session:
        return await books.billing.post_due(session, booking_id, books.clock.now())


async def end(books: Books, booking_id: str = "bkg_1", **how: object) -> None:
    async with books.database.transaction() as session:
        await books.billing.end(session, booking_id, books.clock.now(), **how)  # type: ignore[arg-type]


def price(seconds: float, rate: int = RATE) -> int:
    return charge_for(rate, round(seconds * 1e6))


async def test_an_empty_wallet_starts_nothing_and_the_answer_has_numbers(books: Books) -> None:
    await books.fund(1_000)
    with pytest.raises(InsufficientFunds) as refused:
        await open_and_run(books)
    needed = price(170)
    assert refused.value.extra["needed_micros"] == needed
    assert refused.value.extra["missing_micros"] == needed - 1_000
    assert "0.001 USD free" in refused.value.detail
    assert await books.balance(f"wallet:{RENTER}") == 1_000
    async with books.database.transaction() as session:
        with pytest.raises(InsufficientFunds):
            await books.billing.require_funds(session, RENTER, RATE)


async def test_a_start_that_fails_is_a_zero_receipt(books: Books) -> None:
    await books.fund(1_000_000)
    async with books.database.transaction() as session:
        await books.billing.open_meter(session, new_meter())
    assert await books.balance("hold:bkg_1") == price(170)
    books.clock.advance(33)
    await end(books)
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, "bkg_1", RENTER)
    assert (receipt.lines, receipt.charged_micros, receipt.billed_us, receipt.final) == ([], 0, 0, True)
    assert await books.balance(f"wallet:{RENTER}") == 1_000_000


async def test_charges_follow_each_period_and_split_exactly(books: Books) -> None:
    await books.fund(10_000_000)
    await open_and_run(books)
    assert await post(books)
    assert not await post(books)
    for _ in range(3):
        books.clock.advance(60)
        assert await post(books)
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, "bkg_1", OWNER)
    assert receipt.charged_micros == price(175)  # the last 5 s may still turn out not to be covered
    assert not receipt.final
    books.clock.advance(7.123456)
    await end(books)
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, "bkg_1", RENTER)
        earnings = await books.statements.earnings(session, OWNER)
        wallet = await books.statements.wallet(session, RENTER)
    total = price(187.123456)
    assert receipt.charged_micros == total
    assert [receipt.owner_micros, receipt.platform_micros] == allocate(total, [80, 20])
    assert receipt.billed_us == 187_123_456
    assert receipt.final
    assert earnings.earned_total_micros == earnings.earned_24h_micros == receipt.owner_micros
    assert earnings.by_node[0].gross_micros == total
    assert earnings.by_node[0].platform_fee_micros == receipt.platform_micros
    assert [day.earned_micros for day in earnings.by_day] == [receipt.owner_micros]
    assert wallet.available_micros == 10_000_000 - total
    assert (wallet.held_micros, wallet.spent_30d_micros) == (0, total)
    async with books.database.transaction() as session:
        with pytest.raises(BookingNotFound):
            await books.statements.receipt(session, "bkg_1", "usr_stranger")


async def test_an_operator_gets_the_better_share(books: Books) -> None:
    await books.fund(10_000_000)
    await open_and_run(books, owner_id=OPERATOR)
    books.clock.advance(600)
    await end(books)
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, "bkg_1", OPERATOR)
    assert receipt.charged_micros == price(600)
    assert [receipt.owner_micros, receipt.platform_micros] == allocate(price(600), [85, 15])


async def test_lost_work_goes_back_to_the_renter_and_is_seen(books: Books) -> None:
    await books.fund(10_000_000)
    await open_and_run(books)
    began = books.clock.now()
    books.clock.advance(125)
    await post(books)
    books.clock.advance(5)
    async with books.database.transaction() as session:
        await books.billing.interrupted(session, "bkg_1", began + timedelta(seconds=128))
    await end(books, lost=True, saved_until=began + timedelta(seconds=90))
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, "bkg_1", RENTER)
        entries = await books.statements.wallet_entries(session, RENTER, None, 50)
    assert receipt.charged_micros == price(128)
    assert receipt.refunded_micros == price(128) - price(90)
    assert [receipt.owner_micros, receipt.platform_micros] == allocate(price(90), [80, 20])
    assert [(line.why, line.seconds) for line in receipt.lines] == [("ran", 90.0), ("lost_work", 38.0)]
    assert [entry.kind for entry in entries.items] == ["release", "refund", "hold", "hold", "top_up"]
    assert await books.balance(f"wallet:{RENTER}") == 10_000_000 - price(90)
    refunds = [
        event for event in books.heard if isinstance(event, ChargePosted) and event.kind is PostingKind.REFUND
    ]
    assert [(event.why, event.lost_us) for event in refunds] == [(Why.LOST_WORK, 38_000_000)]


async def test_a_late_interruption_corrects_what_was_posted(books: Books) -> None:
    await books.fund(10_000_000)
    await open_and_run(books)
    began = books.clock.now()
    books.clock.advance(125)
    await post(books)
    async with books.database.transaction() as session:
        await books.billing.interrupted(session, "bkg_1", began + timedelta(seconds=100))
    assert await post(books)
    assert await books.balance(f"earnings:{OWNER}") == allocate(price(100), [80, 20])[0]
    books.clock.advance(100)
    async with books.database.transaction() as session:
        await books.billing.restored(session, "bkg_1", books.clock.now())
    books.clock.advance(50)
    await end(books)
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, "bkg_1", RENTER)
    assert receipt.charged_micros - receipt.refunded_micros == price(150)
    assert [line.why for line in receipt.lines] == ["ran", "frozen", "ran"]


async def test_two_corrections_at_the_same_instant_are_both_made(books: Books) -> None:
    await books.fund(10_000_000)
    await open_and_run(books)
    covered_until = books.clock.now() + timedelta(seconds=100)
    for _ in range(3):
        books.clock.advance(200)
        await post(books)
        async with books.database.transaction() as session:
            await books.billing.interrupted(session, "bkg_1", covered_until)
        assert await post(books)
        assert await books.balance(f"earnings:{OWNER}") == allocate(price(100), [80, 20])[0]
        async with books.database.transaction() as session:
            await books.billing.restored(session, "bkg_1", covered_until)
    await end(books, lost=True, saved_until=covered_until)
    assert await books.balance(f"wallet:{RENTER}") == 10_000_000 - price(100)


async def test_h12_negative_balance_a_wallet_running_dry_stops_within_a_period(books: Books) -> None:
    money = price(400)
    await books.fund(money)
    await open_and_run(books)
    seconds = 0
    while not any(isinstance(event, FundsExhausted) for event in books.heard):
        await post(books)
        books.clock.advance(1)
        seconds += 1
        assert seconds < 400
    assert 400 - 60 - 45 <= seconds <= 400 - 30
    for _ in range(30):  # the grace, with the final checkpoint
        books.clock.advance(1)
        await post(books)
    await end(books)
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, "bkg_1", RENTER)
    assert receipt.charged_micros == price(seconds + 30) <= money
    assert await books.balance(f"wallet:{RENTER}") == money - receipt.charged_micros
    assert sum(isinstance(event, FundsExhausted) for event in books.heard) == 1


async def test_h12_negative_balance_a_job_that_does_not_stop_is_charged_what_there_is(books: Books) -> None:
    money = price(200)
    await books.fund(money)
    await open_and_run(books)
    for _ in range(60):
        books.clock.advance(10)
        await post(books)
    await end(books)
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, "bkg_1", RENTER)
    assert receipt.charged_micros == money
    assert await books.balance(f"wallet:{RENTER}") == 0


async def test_h12_negative_balance_64_bookings_race_for_one_hold(books: Books) -> None:
    await books.fund(price(170) * 3 + 1)

    async def book(number: int) -> bool:
        try:
            async with books.database.transaction() as session:
                await books.billing.open_meter(session, new_meter(number, job_id=f"job_{number}"))
        except InsufficientFunds:
            return False
        return True

    assert sum(await asyncio.gather(*(book(number) for number in range(64)))) == 3
    assert await books.balance(f"wallet:{RENTER}") == 1


async def test_a_budget_stops_the_job_and_is_never_exceeded(books: Books) -> None:
    await books.fund(10_000_000)
    budget = price(300)
    await open_and_run(books, budget_total_micros=budget)
    seconds = 0
    while not any(isinstance(event, BudgetReached) for event in books.heard):
        await post(books)
        books.clock.advance(1)
        seconds += 1
        assert seconds < 300
    books.clock.advance(20)
    await end(books)
    spent = price(seconds + 20)
    assert await books.balance(f"wallet:{RENTER}") == 10_000_000 - spent
    await open_and_run(books, 2, budget_total_micros=budget)
    books.clock.advance(500)  # a node that would not stop
    await end(books, "bkg_2")
    assert await books.balance(f"wallet:{RENTER}") == 10_000_000 - budget
    with pytest.raises(BudgetSpent):
        await open_and_run(books, 3, budget_total_micros=budget)


async def test_telling_the_end_again_changes_nothing(books: Books) -> None:
    await books.fund(10_000_000)
    await open_and_run(books)
    books.clock.advance(100)
    await end(books)
    left = await books.balance(f"wallet:{RENTER}")
    books.clock.advance(100)
    await end(books)
    await end(books, lost=True, saved_until=None)
    assert not await post(books)
    assert await books.balance(f"wallet:{RENTER}") == left


async def test_unknown_bookings_are_left_alone(books: Books) -> None:
    async with books.database.transaction() as session:
        await books.billing.ran(session, "bkg_none", books.clock.now())
        await books.billing.end(session, "bkg_none", books.clock.now())
        assert not await books.billing.settle(session, "bkg_none")


@dataclass(frozen=True)
class VouchedUntil:
    """A gateway that last lived at this instant."""

    at: datetime

    async def confirmed_until(self, session: AsyncSession, node_id: str) -> datetime | None:
        return self.at


async def test_an_outage_of_the_platform_is_not_charged_and_exhausts_no_wallet(books: Books) -> None:
    await books.fund(price(400))
    await open_and_run(books)
    platform_went_away = books.clock.now() + timedelta(seconds=30)
    books.clock.advance(6 * 3600)
    gateway = VouchedUntil(platform_went_away)
    for _ in range(3):
        async with books.database.transaction() as session:
            await books.billing.post_due(session, "bkg_1", books.clock.now(), gateway)
        books.clock.advance(60)
    assert not any(isinstance(event, FundsExhausted) for event in books.heard)
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, "bkg_1", RENTER)
    assert (receipt.charged_micros, receipt.refunded_micros) == (price(30), 0)
    async with books.database.transaction() as session:
        await books.billing.interrupted(session, "bkg_1", platform_went_away)
        await books.billing.restored(session, "bkg_1", books.clock.now())
    books.clock.advance(50)
    await end(books)
    async with books.database.transaction() as session:
        receipt = await books.statements.receipt(session, "bkg_1", RENTER)
    assert receipt.charged_micros - receipt.refunded_micros == price(80)
