"""Booking over HTTP: take a chosen offer, or submit a job and let the router choose."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from gp4u_protocol.job_spec import JobSpec

from gp4u_server.accounts.web import CurrentUser
from gp4u_server.billing.types import MeterTotals
from gp4u_server.bookings.schemas import BookingIn, BookingOut
from gp4u_server.bookings.service import BookingService
from gp4u_server.bookings.types import BookingState, BookingView
from gp4u_server.catalyst.jobs.reading import JobReader
from gp4u_server.catalyst.jobs.schemas import JobOut
from gp4u_server.foundation.idempotency import IdempotencyKey, idempotent
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Page

router = APIRouter(tags=["bookings"])
Bookings = Annotated[BookingService, Depends(provided(BookingService))]
Reader = Annotated[JobReader, Depends(provided(JobReader))]


@router.post("/bookings", status_code=201, response_model=BookingOut)
async def create_booking(
    body: BookingIn,
    user: CurrentUser,
    session: Session,
    bookings: Bookings,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Book a chosen offer and run a job on it. 409 `offer_taken`, 402 `insufficient_funds`."""

    async def book() -> BookingOut:
        return _booking_out(
            *await bookings.book(
                session, user.user_id, body.job, body.offer_id, body.rate_per_hour_micros_max
            )
        )

    return await idempotent(
        session,
        principal=user.user_id,
        route="POST /bookings",
        key=idempotency_key,
        body=body,
        action=book,
    )


@router.get("/bookings")
async def list_bookings(
    user: CurrentUser,
    session: Session,
    bookings: Bookings,
    job_id: Annotated[str | None, Query(max_length=200, description="only those of this job")] = None,
    state: Annotated[list[BookingState] | None, Query(description="any of these states")] = None,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = PAGE_SIZE_DEFAULT,
) -> Page[BookingOut]:
    """The caller's bookings, newest first. Each placement of a job has one of its own."""
    found, following = await bookings.of_renter(
        session, user.user_id, job_id=job_id, states=state or (), cursor=cursor, limit=limit
    )
    return Page[BookingOut](items=[_booking_out(*pair) for pair in found], next_cursor=following)


@router.get("/bookings/{booking_id}")
async def read_booking(
    booking_id: str, user: CurrentUser, session: Session, bookings: Bookings
) -> BookingOut:
    """One booking, for its renter and for the node's owner."""
    return _booking_out(*await bookings.read(session, None if user.is_admin else user.user_id, booking_id))


@router.post("/jobs", status_code=201, tags=["jobs"], response_model=JobOut)
async def submit_job(
    body: JobSpec,
    user: CurrentUser,
    session: Session,
    bookings: Bookings,
    reader: Reader,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a job: the router chooses and books. With nothing free it waits, unbilled, and says what would fit."""

    async def submit() -> JobOut:
        job = await bookings.submit_job(session, user.user_id, body)
        return await reader.job(session, user.user_id, job.id)

    return await idempotent(
        session, principal=user.user_id, route="POST /jobs", key=idempotency_key, body=body, action=submit
    )


def _booking_out(booking: BookingView, totals: MeterTotals) -> BookingOut:
    return BookingOut(
        id=booking.id,
        job_id=booking.job_id,
        offer_id=booking.offer_id,
        node_id=booking.node_id,
        node_name=booking.node_name,
        gpu_model=booking.gpu_model,
        device_ids=list(booking.device_ids),
        state=booking.state,
        kind=booking.kind,
        rate_per_hour_micros=booking.rate_per_hour_micros,
        starts_at=booking.starts_at,
        ends_at=booking.ends_at,
        ended_at=booking.ended_at,
        held_micros=totals.held_micros,
        charged_micros=totals.charged_micros,
        refunded_micros=totals.refunded_micros,
    )
