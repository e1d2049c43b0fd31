"""How much to set aside, and when to stop: PURE."""

from dataclasses import dataclass

from gp4u_server.billing.types import BillingTerms, StopReason
from gp4u_server.kit.money import MICROSECONDS_PER_HOUR, charge_for

NEXT_DUE_S_MIN = 0.5


@dataclass(frozen=True)
class FundsPlan:
    """What to do after a posting."""

    top_up_micros: int  # from the wallet into the hold
    stop: StopReason | None
    next_due_in_s: float


def price_of_s(rate_per_hour_micros: int, seconds: float) -> int:
    """The price of `seconds`, at least one micro-unit."""
    return max(1, charge_for(rate_per_hour_micros, round(seconds * 1_000_000)))


def reserve_micros(rate_per_hour_micros: int, terms: BillingTerms) -> int:
    """What a hold is filled up to: two periods, the unconfirmed time, a graceful stop."""
    return price_of_s(rate_per_hour_micros, 2 * terms.period_s + terms.confirm_lag_s + terms.stop_s)


def first_hold_micros(rate_per_hour_micros: int, limit_micros: int | None, terms: BillingTerms) -> int:
    """The hold that a booking starts with. A job's own budget may be smaller than a reserve."""
    reserve = reserve_micros(rate_per_hour_micros, terms)
    return reserve if limit_micros is None else max(1, min(reserve, limit_micros))


def plan(
    *,
    rate_per_hour_micros: int,
    hold_micros: int,
    wallet_micros: int,
    budget_left_micros: int | None,
    limit_micros: int | None,
    terms: BillingTerms,
) -> FundsPlan:
    """Fill the hold up as far as the money goes; say whether the job must stop and when to look again.

    `budget_left_micros` is what the job's budget leaves for this booking now, of `limit_micros` at its start.
    """
    wanted = reserve_micros(rate_per_hour_micros, terms)
    if budget_left_micros is not None:
        wanted = min(wanted, max(budget_left_micros, 0))
    top_up = min(max(wanted - hold_micros, 0), wallet_micros)
    unposted = price_of_s(rate_per_hour_micros, terms.confirm_lag_s)
    stop_price = price_of_s(rate_per_hour_micros, terms.stop_s)

    spare = hold_micros + wallet_micros - unposted - stop_price
    reason = StopReason.WALLET_EMPTY
    if budget_left_micros is not None and limit_micros is not None:
        # A budget smaller than the price of a graceful stop must not end the job before it began.
        budget_spare = budget_left_micros - unposted - min(stop_price, limit_micros // 2)
        if budget_spare < spare:
            spare, reason = budget_spare, StopReason.BUDGET_REACHED
    if spare <= 0:
        return FundsPlan(top_up, reason, float(terms.period_s))
    spare_s = spare * MICROSECONDS_PER_HOUR / rate_per_hour_micros / 1_000_000
    return FundsPlan(top_up, None, max(NEXT_DUE_S_MIN, min(float(terms.period_s), spare_s)))
