"""Request and response models of bookings."""

from datetime import datetime

from gp4u_protocol.job_spec import BookingKind, JobSpec, Strict
from pydantic import Field

from gp4u_server.bookings.types import BookingState


class BookingIn(Strict):
    """A chosen offer, and the job to run on it."""

    offer_id: str
    job: JobSpec
    rate_per_hour_micros_max: int | None = Field(
        default=None,
        ge=1,
        le=10**15,
        description="the rate that the renter was shown, for all GPUs together: 409 `offer_taken` when it has risen. "
        "Unlike the job's budget it binds this booking only, not those that replace it.",
    )


class BookingOut(Strict):
    id: str
    job_id: str
    offer_id: str
    node_id: str
    node_name: str
    gpu_model: str
    device_ids: list[str]
    state: BookingState
    kind: BookingKind = Field(description="interruptible: makes room for on-demand jobs, with notice")
    rate_per_hour_micros: int = Field(description="for all its GPUs together")
    starts_at: datetime
    ends_at: datetime = Field(description="the latest end; released earlier when the job ends")
    ended_at: datetime | None
    held_micros: int
    charged_micros: int
    refunded_micros: int
