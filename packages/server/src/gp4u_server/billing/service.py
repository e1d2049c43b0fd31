"""Use cases of the meter: from a hold to a settled bill. Every use case works in the caller's transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.billing import funds, metering, repository, settling
from gp4u_server.billing.errors import BudgetSpent, InsufficientFunds
from gp4u_server.billing.events import BudgetReached, ChargePosted, FundsExhausted
from gp4u_server.billing.metering import Ended, Interrupted, Posting, Ran, Restored
from gp4u_server.billing.models import MeterRow
from gp4u_server.billing.ports import LeaseCoverage
from gp4u_server.billing.shares import OwnerShares
from gp4u_server.billing.types import BillingTerms, NewMeter, PostingKind, StopReason, Why
from gp4u_server.foundation.events import EventBus
from gp4u_server.kit.clock import Clock
from gp4u_server.ledger.errors import InsufficientFunds as LedgerInsufficientFunds
from gp4u_server.ledger.service import LedgerService
from gp4u_server.ledger.types import PLATFORM_FEES, Leg, earnings_of, hold_of, wallet_of


@dataclass(frozen=True)
class BillingService:
    """Meters bookings. Money moves only here and in top-ups."""

    ledger: LedgerService
    bus: EventBus
    clock: Clock
    shares: OwnerShares
    terms: BillingTerms

    def reserve_micros(self, rate_per_hour_micros: int, budget_micros: int | None = None) -> int:
        """What a wallet must have free for a booking at this rate to start."""
        return funds.first_hold_micros(rate_per_hour_micros, budget_micros, self.terms)

    async def require_funds(
        self,
        session: AsyncSession,
        renter_id: str,
        rate_per_hour_micros: int,
        budget_micros: int | None = None,
    ) -> None:
        """Raise InsufficientFunds, with numbers and the way out, unless the wallet covers the first hold."""
        needed = self.reserve_micros(rate_per_hour_micros, budget_micros)
        wallet = wallet_of(renter_id)
        available = (await self.ledger.balances(session, [wallet], self.terms.currency))[wallet]
        if available < needed:
            raise self._insufficient(available, needed, rate_per_hour_micros)

    async def open_meter(self, session: AsyncSession, new: NewMeter) -> int:
        """Set the first hold aside and make the meter; answers the micro-units held.

        Raises InsufficientFunds, or BudgetSpent (an InsufficientFunds) when the job's own budget is used up.
        """
        limit = None
        if new.budget_total_micros is not None:
            limit = new.budget_total_micros - await repository.net_of_job(session, new.job_id)
            if limit <= 0:
                raise BudgetSpent("The job has used its whole budget.", budget_micros=new.budget_total_micros)
        amount = self.reserve_micros(new.rate_per_hour_micros, limit)
        try:
            await self._set_aside(
                session,
                new.booking_id,
                new.job_id,
                new.renter_id,
                amount,
                0,
                new.job_name,
                self.terms.currency,
            )
        except LedgerInsufficientFunds as error:
            available = int(str(error.extra["balance_micros"]))
            raise self._insufficient(available, amount, new.rate_per_hour_micros) from error
        await repository.insert_meter(
            session,
            {
                "booking_id": new.booking_id,
                "job_id": new.job_id,
                "job_name": new.job_name,
                "renter_id": new.renter_id,
                "owner_id": new.owner_id,
                "node_id": new.node_id,
                "node_name": new.node_name,
                "epoch": new.epoch,
                "beside_booking_id": new.beside_booking_id,
                "currency": self.terms.currency,
                "rate_per_hour_micros": new.rate_per_hour_micros,
                "owner_share_percent": await self.shares.percent(session, new.owner_id),
                "limit_micros": limit,
                "budget_total_micros": new.budget_total_micros,
                "floor_at": await repository.end_of_job_time(
                    session, repository.timed_as(new.job_id, new.beside_booking_id)
                ),
                "holds": 1,
                "created_at": self.clock.now(),
            },
        )
        return amount

    async def ran(self, session: AsyncSession, booking_id: str, at: datetime) -> None:
        """The job is proven ready: time counts from `at`."""
        await self._observe(session, booking_id, Ran(at))

    async def interrupted(self, session: AsyncSession, booking_id: str, covered_until: datetime) -> None:
        """Beats are missing: time counts until `covered_until`."""
        await self._observe(session, booking_id, Interrupted(covered_until))

    async def restored(self, session: AsyncSession, booking_id: str, at: datetime) -> None:
        """The node came back: time counts again from `at`."""
        await self._observe(session, booking_id, Restored(at))

    async def _observe(self, session: AsyncSession, booking_id: str, event: metering.Event) -> None:
        row = await repository.locked_meter(session, booking_id)
        if row is None or row.ended_at is not None:
            return
        _, effects = metering.observe(await repository.state_of(session, row), event)
        for effect in effects:
            await repository.store_interval(session, row, effect.interval)
        if effects:
            await repository.change_meter(session, booking_id, next_due_at=self.clock.now())

    async def post_due(
        self,
        session: AsyncSession,
        booking_id: str,
        now: datetime,
        coverage: LeaseCoverage | None = None,
    ) -> bool:
        """Post the running time of one meter that is due, fill its hold up, and say so when the money ends.

        Answers whether the meter was due. `now` is the database's. The caller has locked the job (`ports.JobLock`).
        With `coverage` nothing is posted past what the node's gateway has vouched for: after an outage of ours the
        jobs were frozen, and their time must neither be charged nor exhaust a wallet.
        """
        row = await repository.locked_meter(session, booking_id)
        if row is None or row.settled_at is not None or row.next_due_at is None or row.next_due_at > now:
            return False
        meter = await repository.state_of(session, row)
        interval = meter.open_interval
        vouched = None
        if interval is not None and coverage is not None:
            vouched = await coverage.confirmed_until(session, row.node_id)
        through = settling.confirmed_through(
            meter,
            now,
            confirm_lag_s=self.terms.confirm_lag_s,
            vouched=vouched,
            posted_through=row.posted_through,
        )
        wallet, hold = await self._locked_balances(session, row)
        owed = metering.owed_micros(meter, through) - meter.net_micros
        budget_left = await self._budget_left(session, row)
        if budget_left is not None:
            owed = min(owed, budget_left)
        plan = funds.plan(
            rate_per_hour_micros=row.rate_per_hour_micros,
            hold_micros=hold - max(owed, 0),
            wallet_micros=wallet,
            budget_left_micros=None if budget_left is None else budget_left - max(owed, 0),
            limit_micros=row.limit_micros,
            terms=self.terms,
        )
        if plan.top_up_micros:
            await self._fill_up(session, row, plan.top_up_micros)
        _, posting, _ = metering.post(meter, through, payable_micros=min(owed, hold + plan.top_up_micros))
        await self._book(session, row, posting, Why.RAN if posting.amount_micros >= 0 else Why.FROZEN)
        running = interval is not None
        # A standby stops no job. What ends its money ends the job's own first: that needs more for its graceful stop.
        may_stop = running and row.stop_reason is None and row.beside_booking_id is None
        stop = plan.stop if may_stop else None
        await repository.change_meter(
            session,
            booking_id,
            holds=row.holds + (1 if plan.top_up_micros else 0),
            billed_us=metering.billable_us(meter, through),
            posted_through=through,
            stop_reason=stop or row.stop_reason,
            next_due_at=now + timedelta(seconds=plan.next_due_in_s) if running else None,
            failures=0,
        )
        if stop is StopReason.WALLET_EMPTY:
            await self.bus.publish(
                session, FundsExhausted(**_who(row), at=now, available_micros=wallet + hold - max(owed, 0))
            )
        elif stop is StopReason.BUDGET_REACHED:
            await self.bus.publish(
                session, BudgetReached(**_who(row), at=now, limit_micros=row.limit_micros or 0)
            )
        return True

    async def end(
        self,
        session: AsyncSession,
        booking_id: str,
        at: datetime,
        *,
        lost: bool = False,
        saved_until: datetime | None = None,
    ) -> None:
        """The placement is over: post the rest, give lost work back, release the hold. Once, however often told."""
        row = await repository.locked_meter(session, booking_id)
        if row is None or row.settled_at is not None:
            return
        meter, effects = metering.observe(await repository.state_of(session, row), Ended(at))
        for effect in effects:
            await repository.store_interval(session, row, effect.interval)
        lost_meter = metering.lose(meter, saved_until) if lost else meter
        await repository.change_meter(
            session, booking_id, ended_at=meter.ended_at, lost_from=lost_meter.lost_from, next_due_at=None
        )
        await self._settle(session, row, meter, lost_meter)

    async def settle(self, session: AsyncSession, booking_id: str) -> bool:
        """Finish a meter that is over and was left unsettled. Answers whether there was anything to do."""
        row = await repository.locked_meter(session, booking_id)
        if row is None or row.ended_at is None or row.settled_at is not None:
            return False
        meter = await repository.state_of(session, row)
        await self._settle(session, row, meter, meter)
        return True

    async def _settle(
        self, session: AsyncSession, row: MeterRow, meter: metering.Meter, lost_meter: metering.Meter
    ) -> None:
        now = self.clock.now()
        wallet, hold = await self._locked_balances(session, row)
        left = await self._budget_left(session, row)
        final = settling.settle(
            meter,
            lost_meter.lost_from,
            now,
            hold_micros=hold,
            wallet_micros=wallet,
            limit_micros=None if left is None else meter.net_micros + left,
        )
        top_up = final.top_up_micros
        if top_up:
            await self._fill_up(session, row, top_up)
        charged = Why.RAN if final.charge.amount_micros >= 0 else Why.FROZEN
        await self._book(session, row, final.charge, charged)
        await self._book(session, row, final.refund, Why.LOST_WORK, lost_us=final.lost_us)
        await self._release(session, row, final.release_micros)
        await repository.change_meter(
            session,
            row.booking_id,
            holds=row.holds + (1 if top_up else 0),
            billed_us=metering.billable_us(final.meter, final.through),
            posted_through=final.through if meter.intervals else None,
            written_off_micros=final.unpaid_micros,
            next_due_at=None,
            settled_at=now,
        )

    async def _book(
        self, session: AsyncSession, row: MeterRow, posting: Posting, why: Why, lost_us: int = 0
    ) -> None:
        """Move a posting's money and write it down. `row` is kept up to date for the next posting."""
        amount = posting.amount_micros
        if amount == 0:
            return
        refund = amount < 0
        kind = PostingKind.REFUND if refund else PostingKind.CHARGE
        through_us = round(posting.through.timestamp() * 1_000_000)
        legs = settling.posting_legs(
            posting,
            renter_id=row.renter_id,
            owner_id=row.owner_id,
            booking_id=row.booking_id,
            currency=row.currency,
        )
        transfer = await self.ledger.transfer(
            session,
            # The totals before it tell a second correction at the same instant from a repetition of the first.
            key=f"{kind}:{row.booking_id}:{through_us}:{row.charged_micros}:{row.refunded_micros}",
            kind=kind,
            legs=legs,
            description=_describe(kind, why, row),
            refs={"booking_id": row.booking_id, "job_id": row.job_id, "through": posting.through.isoformat()},
        )
        assert transfer.created, "a posting's meter row and transfer are written in one transaction"
        await repository.insert_posting(session, row, transfer.transfer_id, self.clock.now(), posting, why)
        await repository.change_meter(
            session,
            row.booking_id,
            charged_micros=row.charged_micros + max(amount, 0),
            refunded_micros=row.refunded_micros + max(-amount, 0),
            owner_micros=row.owner_micros + posting.owner_micros,
            platform_micros=row.platform_micros + posting.platform_micros,
        )
        await session.refresh(row)
        await self.bus.publish(
            session,
            ChargePosted(
                **_who(row),
                at=self.clock.now(),
                kind=kind,
                why=why,
                amount_micros=abs(amount),
                through=posting.through,
                lost_us=lost_us,
            ),
        )

    async def _budget_left(self, session: AsyncSession, row: MeterRow) -> int | None:
        """What the job's budget leaves now; None without one. The job is locked, so no meter beside this one changes it."""
        if row.budget_total_micros is not None:
            return max(row.budget_total_micros - await repository.net_of_job(session, row.job_id), 0)
        if row.limit_micros is None:
            return None
        return row.limit_micros - (row.charged_micros - row.refunded_micros)  # of the release before this one

    async def _fill_up(self, session: AsyncSession, row: MeterRow, amount: int) -> None:
        # In the meter's own currency: the platform's may be another one since.
        await self._set_aside(
            session,
            row.booking_id,
            row.job_id,
            row.renter_id,
            amount,
            row.holds,
            row.job_name,
            row.currency,
        )

    async def _set_aside(
        self,
        session: AsyncSession,
        booking_id: str,
        job_id: str,
        renter_id: str,
        amount: int,
        number: int,
        job_name: str,
        currency: str,
    ) -> None:
        await self.ledger.transfer(
            session,
            key=f"hold:{booking_id}:{number}",
            kind="hold",
            legs=[
                Leg(wallet_of(renter_id), -amount, currency),
                Leg(hold_of(booking_id), amount, currency),
            ],
            description=f"Set aside for {job_name}",
            refs={"booking_id": booking_id, "job_id": job_id},
        )

    async def _release(self, session: AsyncSession, row: MeterRow, amount: int) -> None:
        if amount == 0:
            return
        await self.ledger.transfer(
            session,
            key=f"release:{row.booking_id}",
            kind="release",
            legs=[
                Leg(hold_of(row.booking_id), -amount, row.currency),
                Leg(wallet_of(row.renter_id), amount, row.currency),
            ],
            description=f"Not used by {row.job_name}",
            refs={"booking_id": row.booking_id, "job_id": row.job_id},
        )

    async def _locked_balances(self, session: AsyncSession, row: MeterRow) -> tuple[int, int]:
        """Wallet and hold, with everything locked that this meter's transfers will touch."""
        wallet, hold = wallet_of(row.renter_id), hold_of(row.booking_id)
        await self.ledger.lock(
            session, [wallet, hold, earnings_of(row.owner_id), PLATFORM_FEES], row.currency
        )
        balances = await self.ledger.balances(session, [wallet, hold], row.currency)
        return balances[wallet], balances[hold]

    def _insufficient(self, available: int, needed: int, rate: int) -> InsufficientFunds:
        currency = self.terms.currency
        seconds = round(2 * self.terms.period_s + self.terms.confirm_lag_s + self.terms.stop_s)
        return InsufficientFunds(
            f"Your wallet has {_amount(available)} {currency} free; {_amount(needed)} {currency} must be set aside "
            f"to start (up to {seconds} s at {_amount(rate)} {currency} an hour). Add at least "
            f"{_amount(needed - available)} {currency} and try again.",
            available_micros=available,
            needed_micros=needed,
            missing_micros=needed - available,
            rate_per_hour_micros=rate,
            action="top_up",
        )


def _who(row: MeterRow) -> Mapping[str, str]:
    return {"booking_id": row.booking_id, "job_id": row.job_id, "renter_id": row.renter_id}


def _describe(kind: PostingKind, why: Why, row: MeterRow) -> str:
    job_name, node_name = row.job_name, row.node_name
    if row.beside_booking_id is not None:
        if kind is PostingKind.CHARGE:
            return f"{node_name} stood by for {job_name}"
        return f"Time in which {node_name} was not proven to stand by for {job_name}"
    if kind is PostingKind.CHARGE:
        return f"{job_name} ran on {node_name}"
    if why is Why.LOST_WORK:
        return f"Work of {job_name} that was lost with {node_name}"
    return f"Time of {job_name} on {node_name} that was not confirmed"


def _amount(micros: int) -> str:
    """Micro-units as an exact decimal, e.g. 1.5 → 1.50 and 0.000123."""
    whole, fraction = divmod(micros, 1_000_000)
    digits = f"{fraction:06d}".rstrip("0").ljust(2, "0")
    return f"{whole}.{digits}"
