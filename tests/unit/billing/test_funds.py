"""When a hold is filled up and when a job must stop, by simulation of the whole way down."""

import pytest
from gp4u_server.billing import funds
from gp4u_server.billing.types import BillingTerms, StopReason
from gp4u_server.kit.money import charge_for
from hypothesis import given
from hypothesis import strategies as st

TERMS = BillingTerms()


def price(rate: int, seconds: float) -> int:
    return charge_for(rate, round(seconds * 1_000_000))


def test_the_reserve_is_two_periods_the_unconfirmed_time_and_a_graceful_stop() -> None:
    assert funds.reserve_micros(3_600_000, TERMS) == (2 * 60 + 5 + 45) * 1_000


def test_a_small_budget_makes_a_small_first_hold() -> None:
    assert funds.first_hold_micros(3_600_000, 5, TERMS) == 5
    assert funds.first_hold_micros(3_600_000, None, TERMS) == 170_000


def test_a_rich_wallet_fills_the_hold_and_is_looked_at_each_period() -> None:
    plan = funds.plan(
        rate_per_hour_micros=3_600_000,
        hold_micros=110_000,
        wallet_micros=10**9,
        budget_left_micros=None,
        limit_micros=None,
        terms=TERMS,
    )
    assert plan == funds.FundsPlan(60_000, None, 60.0)


@given(st.integers(1_000, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_h12_wallet_running_dry_is_told_in_time(rate: int, wallet: int, extra: int) -> None:
    """Run the loop second by second on exact money: when it says stop, a graceful stop is still paid for."""
    hold = funds.reserve_micros(rate, TERMS)
    wallet = min(wallet, price(rate, 20_000))  # bounds the length of the simulation
    total = hold + wallet
    now, posted_s = 0.0, 0.0
    while True:
        through = max(0.0, now - TERMS.confirm_lag_s)
        charge = price(rate, through) - price(rate, posted_s)
        posted_s = through
        plan = funds.plan(
            rate_per_hour_micros=rate,
            hold_micros=hold - charge,
            wallet_micros=wallet,
            budget_left_micros=None,
            limit_micros=None,
            terms=TERMS,
        )
        hold, wallet = hold - charge + plan.top_up_micros, wallet - plan.top_up_micros
        assert hold >= 0
        assert wallet >= 0
        assert hold + wallet + price(rate, posted_s) == total
        if plan.stop:
            break
        now += plan.next_due_in_s
    assert plan.stop is StopReason.WALLET_EMPTY
    # 30 s of grace end before the money does, and at most one look (0.5 s) is wasted.
    assert price(rate, now + 30) <= total
    assert price(rate, now + TERMS.stop_s + 1) + 4 >= total


@pytest.mark.parametrize("limit", [1, 2, 100, 5_000, 10**6])
def test_a_budget_is_never_exceeded_by_a_graceful_stop_that_keeps_its_grace(limit: int) -> None:
    plan = funds.plan(
        rate_per_hour_micros=400_000,
        hold_micros=10**6,
        wallet_micros=10**9,
        budget_left_micros=limit // 3,
        limit_micros=limit,
        terms=TERMS,
    )
    if limit <= 5_000:
        assert plan.stop is StopReason.BUDGET_REACHED
    else:
        assert plan.stop is None
