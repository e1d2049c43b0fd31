"""Booking over HTTP: take a chosen offer, or submit a job and let the router choose."""

from typing import Annotated

from fastapi import APIRouter, Header
from gp4u_protocol.job_spec import JobSpec

from gp4u_server.bookings.schemas import BookingIn, BookingOut
from gp4u_server.catalyst.jobs.schemas import JobOut
from gp4u_server.kit.paging import Page

router = APIRouter(tags=["bookings"])
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=255)]


@router.post("/bookings", status_code=201)
async def create_booking(body: BookingIn, idempotency_key: IdempotencyKey = None) -> BookingOut:
    """Book a chosen offer and run a job on it. 409 `offer_taken`, 402 `insufficient_funds`."""
    raise NotImplementedError


@router.get("/bookings")
async def list_bookings(cursor: str | None = None, limit: int = 50) -> Page[BookingOut]:
    """The caller's bookings, newest first."""
    raise NotImplementedError


@router.get("/bookings/{booking_id}")
async def read_booking(booking_id: str) -> BookingOut:
    """One booking."""
    raise NotImplementedError


@router.post("/jobs", status_code=201, tags=["jobs"])
async def submit_job(body: JobSpec, idempotency_key: IdempotencyKey = None) -> JobOut:
    """Submit a job: the router chooses and books. With nothing free it waits, unbilled, and says what would fit."""
    raise NotImplementedError
