"""What bookings do when Catalyst or billing says something. Runs in the speaker's transaction.

The job's row is locked by the speaker. Locks are then taken in the order of docs/design/ledger.md: offer and devices,
booking, meter, accounts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.billing.events import BudgetReached, ChargePosted, FundsExhausted
from gp4u_server.billing.service import BillingService
from gp4u_server.billing.types import PostingKind, StopReason, Why
from gp4u_server.bookings import calendar, repository
from gp4u_server.catalyst.jobs.events import (
    JobEnded,
    LeaseInterrupted,
    LeaseRestored,
    PlacementEnded,
    PlacementRan,
)
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.foundation.events import EventBus
from gp4u_server.market.service import MarketService

# Each is a sentence that its renter can check against the receipt's lines.
REFUND_TITLES: Mapping[Why, str] = {
    Why.LOST_WORK: "Lost work refunded",
    Why.FROZEN: "Unconfirmed time refunded",
    Why.RAN: "Refunded",
}


@dataclass(frozen=True)
class BookingHandlers:
    """Subscribers. `bootstrap` calls `subscribe` once."""

    market: MarketService
    billing: BillingService
    jobs: JobService

    def subscribe(self, bus: EventBus) -> None:
        """Register every handler."""
        bus.subscribe(PlacementRan, self.placement_ran)
        bus.subscribe(LeaseInterrupted, self.lease_interrupted)
        bus.subscribe(LeaseRestored, self.lease_restored)
        bus.subscribe(PlacementEnded, self.placement_ended)
        bus.subscribe(JobEnded, self.job_ended)
        bus.subscribe(ChargePosted, self.charge_posted)
        bus.subscribe(FundsExhausted, self.funds_exhausted)
        bus.subscribe(BudgetReached, self.budget_reached)

    async def placement_ran(self, session: AsyncSession, event: PlacementRan) -> None:
        """Proven ready: the booking is active and its meter runs."""
        await repository.activate(session, event.booking_id)
        await self.billing.ran(session, event.booking_id, event.at)

    async def lease_interrupted(self, session: AsyncSession, event: LeaseInterrupted) -> None:
        """Time counts only as far as the lease covers it."""
        await self.billing.interrupted(session, event.booking_id, event.covered_until)

    async def lease_restored(self, session: AsyncSession, event: LeaseRestored) -> None:
        """Time counts again."""
        await self.billing.restored(session, event.booking_id, event.at)

    async def placement_ended(self, session: AsyncSession, event: PlacementEnded) -> None:
        """Give the GPUs back, post the rest, give lost work back, release the hold."""
        offer_id = await repository.end(session, event.booking_id, event.at)
        if offer_id is not None:
            devices = await calendar.give_back(session, event.booking_id, event.at)
            await self.market.release_devices(session, offer_id, devices)
        await self.billing.end(
            session,
            event.booking_id,
            event.at,
            lost=event.outcome.gives_unsaved_work_back,
            saved_until=event.saved_until,
        )

    async def job_ended(self, session: AsyncSession, event: JobEnded) -> None:
        """Its placements are over, so its bookings are; what is not is caught here, so no GPU stays taken."""
        for booking_id in await repository.live_of_job(session, event.job_id):
            offer_id = await repository.end(session, booking_id, event.at)
            devices = await calendar.give_back(session, booking_id, event.at)
            if offer_id is not None:
                await self.market.release_devices(session, offer_id, devices)
            await self.billing.end(session, booking_id, event.at)
        # Only a job that waits has GPUs kept for it: it has no run, so no account is locked here.
        await self.market.nodes.release_reservation(session, event.job_id)

    async def charge_posted(self, session: AsyncSession, event: ChargePosted) -> None:
        """Keep the job's own totals."""
        if event.kind is PostingKind.CHARGE:
            await self.jobs.record_charge(session, event.job_id, event.amount_micros)
        else:
            title = REFUND_TITLES[event.why]
            await self.jobs.record_charge(session, event.job_id, 0, event.amount_micros, title)

    async def funds_exhausted(self, session: AsyncSession, event: FundsExhausted) -> None:
        """Stop gracefully, with the final checkpoint, while there is still money for it."""
        await self.jobs.ask_stop(session, event.job_id, StopReason.WALLET_EMPTY)

    async def budget_reached(self, session: AsyncSession, event: BudgetReached) -> None:
        """Stop gracefully before the job costs more than its renter allowed."""
        await self.jobs.ask_stop(session, event.job_id, StopReason.BUDGET_REACHED)
