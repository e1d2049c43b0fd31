"""Postings of a meter while it runs and at its end: PURE. `service` moves the money; the simulation runs this code, too."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gp4u_server.billing import metering
from gp4u_server.billing.metering import Meter, Posting
from gp4u_server.ledger.types import PLATFORM_FEES, Leg, earnings_of, hold_of, wallet_of


def confirmed_through(
    meter: Meter,
    now: datetime,
    *,
    confirm_lag_s: float,
    vouched: datetime | None,
    posted_through: datetime | None,
) -> datetime:
    """Until when time may be posted now. `vouched`: when the node's gateway last proved that it lives, where known.

    Nothing is posted past what was vouched for: after an outage of ours the jobs were frozen, and their time must
    neither be charged nor exhaust a wallet. What was vouched for before still is.
    """
    interval = meter.open_interval
    if interval is None:
        return (meter.intervals[-1].ended_at or now) if meter.intervals else now
    through = now - timedelta(seconds=confirm_lag_s)
    through = max(through if vouched is None else min(through, vouched), interval.started_at)
    if vouched is not None and posted_through is not None:
        through = max(through, min(posted_through, now))
    return through


@dataclass(frozen=True)
class Settlement:
    """A meter's last postings. What ran is charged first and what was lost is given back after, so that both are seen
    on the bill; `release_micros` then leaves the hold."""

    through: datetime
    top_up_micros: int
    charge: Posting
    refund: Posting
    meter: Meter  # with the lost work marked and everything posted
    lost_us: int
    unpaid_micros: int
    release_micros: int


def settle(
    meter: Meter,
    lost_from: datetime | None,
    now: datetime,
    *,
    hold_micros: int,
    wallet_micros: int,
    limit_micros: int | None,
) -> Settlement:
    """How a meter that is over is settled. `lost_from`: when the work began that was lost with its node."""
    through = (meter.intervals[-1].ended_at if meter.intervals else None) or meter.ended_at or now
    owed = max(metering.owed_micros(meter, through) - meter.net_micros, 0)
    if limit_micros is not None:
        owed = min(owed, limit_micros - meter.net_micros)
    top_up = min(max(owed - hold_micros, 0), wallet_micros)
    posted, charge, _ = metering.post(meter, through, payable_micros=min(owed, hold_micros + top_up))
    after_loss = replace(meter, lost_from=lost_from, floor=None, ended_at=None, net_micros=posted.net_micros)
    final, refund, unpaid = metering.post(after_loss, through, payable_micros=0)
    return Settlement(
        through=through,
        top_up_micros=top_up,
        charge=charge,
        refund=refund,
        meter=final,
        lost_us=metering.lost_us(after_loss, through),
        unpaid_micros=unpaid,
        release_micros=hold_micros + top_up - max(charge.amount_micros, 0),
    )


def posting_legs(
    posting: Posting, *, renter_id: str, owner_id: str, booking_id: str, currency: str
) -> list[Leg]:
    """The balanced movement of a posting: a charge comes out of the hold, a refund goes to the wallet."""
    payer = wallet_of(renter_id) if posting.amount_micros < 0 else hold_of(booking_id)
    legs = [
        Leg(payer, -posting.amount_micros, currency),
        Leg(earnings_of(owner_id), posting.owner_micros, currency),
        Leg(PLATFORM_FEES, posting.platform_micros, currency),
    ]
    return [leg for leg in legs if leg.amount_micros]
