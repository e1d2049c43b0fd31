"""Use cases of bookings: submit a job, read bookings."""

from collections.abc import Collection
from dataclasses import dataclass

from gp4u_protocol.job_spec import JobSpec
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.billing.service import BillingService
from gp4u_server.billing.statements import Statements
from gp4u_server.billing.types import MeterTotals
from gp4u_server.bookings import repository
from gp4u_server.bookings.decisions import cheapest_rate
from gp4u_server.bookings.errors import BookingNotFound, OfferTaken, RuntimeNotOffered
from gp4u_server.bookings.types import BookingState, BookingView
from gp4u_server.catalyst.checkpoints.choosing import CheckpointChoices
from gp4u_server.catalyst.checkpoints.service import CheckpointService
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.views import JobView
from gp4u_server.catalyst.routing.service import Router
from gp4u_server.kit.paging import decode_cursor, encode_cursor
from gp4u_server.market.service import MarketService

LOWEST_RATE_MICROS = 1
"""The rate that an empty wallet is measured against when nothing fits at all: any money will do."""


@dataclass(frozen=True)
class BookingService:
    """What renters do with bookings. Works in the caller's transaction."""

    jobs: JobService
    router: Router
    market: MarketService
    billing: BillingService
    statements: Statements
    checkpoints: CheckpointService
    choices: CheckpointChoices

    async def submit_job(
        self, session: AsyncSession, renter_id: str, spec: JobSpec, offer_id: str | None = None
    ) -> JobView:
        """Create a job and place it, all or nothing. Without `offer_id` a job for which nothing is free waits.

        Raises InsufficientFunds when the wallet does not cover the first hold at the cheapest offer that would fit,
        UnknownModel, UploadNotFound or CheckpointNotFound for what is not this renter's, and with `offer_id` OfferNotFound,
        OfferTaken, RequirementsNotMet. RuntimeNotOffered when no listed node could ever run its image.
        """
        start = None
        if spec.start_from is not None:  # locks a job, so it comes before everything that locks money
            start = await self.choices.choose_start(session, renter_id, spec.start_from)
        if spec.upload_id is not None:
            await self.checkpoints.require_job_upload(session, renter_id, spec.upload_id)
        if offer_id is not None:
            await self.market.offer(session, offer_id)
        if spec.image is not None and not await self.market.has_runtime(session, spec.runtime):
            raise RuntimeNotOffered(
                "No listed node runs container images at present. Leave `image` out to run on the nodes' own system.",
                runtime=spec.runtime,
            )
        offers = await self.market.candidates(
            session, spec.resources, runtime=spec.runtime, offer_id=offer_id
        )
        rate = cheapest_rate(offers, spec, self.market.models_of(spec.resources))
        await self.billing.require_funds(
            session, renter_id, LOWEST_RATE_MICROS if rate is None else rate, spec.budget.total_micros_max
        )
        job = await self.jobs.create(
            session, renter_id, spec, offer_id, start_from=None if start is None else start.id
        )
        if start is not None:
            await self.choices.record_fork(session, job.id, start)
        await self.router.place(session, job.id)
        return await self.jobs.get(session, job.id)

    async def book(
        self,
        session: AsyncSession,
        renter_id: str,
        spec: JobSpec,
        offer_id: str,
        rate_per_hour_micros_max: int | None = None,
    ) -> tuple[BookingView, MeterTotals]:
        """Take a chosen offer for a job, or nothing: roll back when it raises.

        Raises what `submit_job` does, and OfferTaken when the owner has just asked more than
        `rate_per_hour_micros_max` for it.
        """
        job = await self.submit_job(session, renter_id, spec, offer_id)
        found = await self.of_job(session, job.id)
        if found is None:
            # The router placed nothing and did not say why; then the offer was not to be had.
            raise OfferTaken("The offer could not be booked; choose another one.")
        rate = found[0].rate_per_hour_micros
        if rate_per_hour_micros_max is not None and rate > rate_per_hour_micros_max:
            raise OfferTaken(
                "The owner has just raised the price. Look at the offer again.", rate_per_hour_micros=rate
            )
        return found

    async def of_renter(
        self,
        session: AsyncSession,
        renter_id: str,
        *,
        job_id: str | None = None,
        states: Collection[BookingState] = (),
        cursor: str | None,
        limit: int,
    ) -> tuple[list[tuple[BookingView, MeterTotals]], str | None]:
        """A page of a renter's bookings with their money, newest first, and the next cursor.

        With `job_id` only that job's, with `states` only those in them. Another renter's job has none.
        """
        before = None if cursor is None else str(decode_cursor(cursor, str)[0])
        bookings = await repository.of_renter(
            session, renter_id, job_id=job_id, states=states, before_id=before, limit=limit + 1
        )
        more, bookings = len(bookings) > limit, bookings[:limit]
        totals = await self.statements.totals(session, [booking.id for booking in bookings])
        following = encode_cursor(bookings[-1].id) if more else None
        return [(booking, _totals(totals.get(booking.id), booking.id)) for booking in bookings], following

    async def read(
        self, session: AsyncSession, reader_id: str | None, booking_id: str
    ) -> tuple[BookingView, MeterTotals]:
        """One booking, for its renter and its owner (`reader_id` None: for an admin). Raises BookingNotFound."""
        booking = await repository.one(session, booking_id)
        if booking is None or (
            reader_id is not None and reader_id not in (booking.renter_id, booking.owner_id)
        ):
            raise BookingNotFound("There is no such booking of yours.")
        totals = await self.statements.totals(session, [booking_id])
        return booking, _totals(totals.get(booking_id), booking_id)

    async def of_job(self, session: AsyncSession, job_id: str) -> tuple[BookingView, MeterTotals] | None:
        """The newest booking of a job."""
        booking = await repository.newest_of_job(session, job_id)
        if booking is None:
            return None
        totals = await self.statements.totals(session, [booking.id])
        return booking, _totals(totals.get(booking.id), booking.id)


def _totals(totals: MeterTotals | None, booking_id: str) -> MeterTotals:
    return totals or MeterTotals(booking_id, 0, 0, 0, False)
