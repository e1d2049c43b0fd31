"""Public types of bookings."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gp4u_protocol.job_spec import BookingKind


class BookingState(StrEnum):
    HELD = "held"  # devices and money set aside, the job not yet running
    ACTIVE = "active"
    ENDED = "ended"


@dataclass(frozen=True)
class BookingView:
    """One booking. The rate is for all its GPUs together."""

    id: str
    job_id: str
    renter_id: str
    owner_id: str
    offer_id: str
    node_id: str
    node_name: str
    gpu_model: str
    device_ids: tuple[str, ...]
    state: BookingState
    kind: BookingKind
    rate_per_hour_micros: int
    starts_at: datetime
    ends_at: datetime
    ended_at: datetime | None
