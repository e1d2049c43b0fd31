"""The router's port `Capacity`: devices, money and the booking for one placement, or nothing of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gp4u_protocol.job_spec import BookingKind
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.billing.service import BillingService
from gp4u_server.billing.types import NewMeter
from gp4u_server.bookings import calendar, repository
from gp4u_server.bookings.errors import DevicesBooked, OfferTaken
from gp4u_server.bookings.types import BookingState
from gp4u_server.catalyst.jobs.views import JobView
from gp4u_server.catalyst.routing.ports import Reservation
from gp4u_server.kit.ids import new_id
from gp4u_server.market.service import MarketService
from gp4u_server.market.types import OfferView


@dataclass(frozen=True)
class BookingCapacity:
    """Books offers for jobs."""

    market: MarketService
    billing: BillingService

    async def reserve(
        self, session: AsyncSession, *, job: JobView, offer: OfferView, gpus: int, now: datetime
    ) -> Reservation:
        """See `catalyst.routing.ports.Capacity`. Raises OfferTaken, InsufficientFunds."""
        taken = await self.market.take_devices(session, offer.id, gpus)
        # The terms are those that were locked with the devices; a price that fell meanwhile is the new price. One
        # that rose was not what the router weighed, nor what the renter saw: then another offer may be the better one.
        terms = taken.offer
        kind = job.spec.kind
        if kind is BookingKind.INTERRUPTIBLE and terms.interruptible_floor_micros is None:
            raise OfferTaken("The owner has just ended interruptible bookings of this offer.")
        rate = terms.rate_per_hour_micros(gpus, kind)
        if rate > offer.rate_per_hour_micros(gpus, kind):
            raise OfferTaken("The owner has just raised the price of this offer.")
        booking_id = new_id("bkg")
        await repository.insert_booking(
            session,
            {
                "id": booking_id,
                "kind": kind,
                "state": BookingState.HELD,
                "renter_id": job.renter_id,
                "owner_id": terms.owner_id,
                "job_id": job.id,
                "offer_id": terms.id,
                "node_id": terms.node_id,
                "node_name": terms.node_name,
                "gpu_model": terms.gpu_model,
                "rate_per_hour_micros": rate,
                "starts_at": now,
                "ends_at": now + timedelta(seconds=job.spec.duration_s_max),
            },
        )
        try:
            await calendar.take(session, booking_id, taken.device_ids, now)
        except DevicesBooked as error:
            raise OfferTaken("Somebody else has just booked these GPUs.") from error
        await self.billing.open_meter(
            session,
            NewMeter(
                booking_id=booking_id,
                job_id=job.id,
                job_name=job.name,
                renter_id=job.renter_id,
                owner_id=terms.owner_id,
                node_id=terms.node_id,
                node_name=terms.node_name,
                epoch=job.next_epoch,
                rate_per_hour_micros=rate,
                budget_total_micros=job.spec.budget.total_micros_max,
            ),
        )
        return Reservation(booking_id, tuple(taken.device_uuids), rate)
