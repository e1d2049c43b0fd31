"""Meters, holds and the ledger, around production's metering, funds and settling."""

from dataclasses import replace
from datetime import datetime, timedelta

from gp4u_server.billing import funds, metering, settling
from gp4u_server.billing.metering import Ended, Event, Meter
from gp4u_server.billing.types import BillingTerms, StopReason
from gp4u_server.ledger.types import Leg, hold_of, wallet_of

from gp4u_simulation.referee import Referee
from gp4u_simulation.rows import JobRow, MeterRow, PlacementRow

TERMS = BillingTerms(period_s=5, confirm_lag_s=5.0, stop_s=5.0)
RATE_PER_HOUR_MICROS = 3_600_007
OWNER_SHARE_PERCENT = 80


class Money:
    """Called in the transaction of the fact, as production's subscribers are."""

    def __init__(self, referee: Referee) -> None:
        self.referee = referee
        self.meters: dict[str, MeterRow] = {}
        self.deposited = 0
        self._transfers = 0

    def deposit(self, renter_id: str, amount: int) -> None:
        """The renter pays in."""
        self.deposited += amount
        self.referee.balances[wallet_of(renter_id)] = amount

    def balance(self, account: str) -> int:
        """Of one account."""
        return self.referee.balances.get(account, 0)

    def open_meter(self, job: JobRow, placement: PlacementRow) -> bool:
        """Set the first hold aside. False: the wallet does not cover it."""
        amount = funds.first_hold_micros(RATE_PER_HOUR_MICROS, None, TERMS)
        wallet = wallet_of(job.renter_id)
        if self.balance(wallet) < amount:
            return False
        ends = [
            interval.ended_at or interval.started_at
            for before in job.placements
            for interval in self.meters[before.id].meter.intervals
        ]
        meter = Meter(RATE_PER_HOUR_MICROS, OWNER_SHARE_PERCENT, floor=max(ends, default=None))
        self.meters[placement.id] = MeterRow(placement.id, job, placement.node_id, meter)
        self._set_aside(self.meters[placement.id], amount, 0)
        return True

    def observe(self, booking_id: str, event: Event, now: datetime) -> None:
        """Time counts, or does not."""
        row = self.meters[booking_id]
        if row.meter.ended_at is not None:
            return
        row.meter, effects = metering.observe(row.meter, event)
        if effects:
            row.next_due_at = now

    def due(self, now: datetime) -> list[str]:
        """Meters to look at."""
        return [
            row.booking_id
            for row in self.meters.values()
            if row.next_due_at is not None and row.next_due_at <= now and not row.settled
        ]

    def post_due(self, booking_id: str, now: datetime, vouched: datetime | None) -> bool:
        """Post running time; answers whether the money is used up and the job must stop."""
        row = self.meters[booking_id]
        if row.settled or row.next_due_at is None or row.next_due_at > now:
            return False
        meter = row.meter
        running = meter.open_interval is not None
        through = settling.confirmed_through(
            meter,
            now,
            confirm_lag_s=TERMS.confirm_lag_s,
            vouched=vouched if running else None,
            posted_through=row.posted_through,
        )
        wallet, hold = self.balance(wallet_of(row.job.renter_id)), self.balance(hold_of(booking_id))
        owed = metering.owed_micros(meter, through) - meter.net_micros
        plan = funds.plan(
            rate_per_hour_micros=RATE_PER_HOUR_MICROS,
            hold_micros=hold - max(owed, 0),
            wallet_micros=wallet,
            budget_left_micros=None,
            limit_micros=None,
            terms=TERMS,
        )
        if plan.top_up_micros:
            self._set_aside(row, plan.top_up_micros, row.holds)
            row.holds += 1
        row.meter, posting, _ = metering.post(
            meter, through, payable_micros=min(owed, hold + plan.top_up_micros)
        )
        self._book(row, posting)
        row.posted_through = through
        row.next_due_at = now + timedelta(seconds=plan.next_due_in_s) if running else None
        if running and plan.stop is StopReason.WALLET_EMPTY and not row.stopped:
            row.stopped = True
            return True
        return False

    def end(self, booking_id: str, at: datetime, *, lost: bool, saved_until: datetime | None) -> None:
        """The placement is over: post the rest, give lost work back, release the hold."""
        row = self.meters[booking_id]
        if row.settled:
            return
        row.meter, _ = metering.observe(row.meter, Ended(at))
        lost_from = metering.lose(row.meter, saved_until).lost_from if lost else row.meter.lost_from
        final = settling.settle(
            row.meter,
            lost_from,
            at,
            hold_micros=self.balance(hold_of(booking_id)),
            wallet_micros=self.balance(wallet_of(row.job.renter_id)),
            limit_micros=None,
        )
        if final.top_up_micros:
            self._set_aside(row, final.top_up_micros, row.holds)
        self._book(row, final.charge)
        self._book(row, final.refund)
        if final.unpaid_micros:
            self.referee.placements[booking_id].money_short = True
        if final.release_micros:
            self._transfer(
                f"release:{booking_id}",
                [
                    Leg(hold_of(booking_id), -final.release_micros, "USD"),
                    Leg(wallet_of(row.job.renter_id), final.release_micros, "USD"),
                ],
                None,
            )
        row.meter = replace(row.meter, lost_from=lost_from, net_micros=final.meter.net_micros)
        row.settled, row.next_due_at = True, None

    def _set_aside(self, row: MeterRow, amount: int, number: int) -> None:
        self._transfer(
            f"hold:{row.booking_id}:{number}",
            [
                Leg(wallet_of(row.job.renter_id), -amount, "USD"),
                Leg(hold_of(row.booking_id), amount, "USD"),
            ],
            None,
        )

    def _book(self, row: MeterRow, posting: metering.Posting) -> None:
        if posting.amount_micros:
            legs = settling.posting_legs(
                posting,
                renter_id=row.job.renter_id,
                owner_id=row.node_id,
                booking_id=row.booking_id,
                currency="USD",
            )
            self._transfers += 1
            self._transfer(f"posting:{self._transfers}", legs, row.booking_id)

    def _transfer(self, key: str, legs: list[Leg], booking_id: str | None) -> None:
        self.referee.transferred(key, [(leg.account, leg.amount_micros) for leg in legs], booking_id)
