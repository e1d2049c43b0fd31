"""Public types of billing."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PostingKind(StrEnum):
    CHARGE = "charge"
    REFUND = "refund"


class Why(StrEnum):
    """The reason of a posting or of a receipt's line."""

    RAN = "ran"
    LOST_WORK = "lost_work"  # done after the last checkpoint of a placement that was lost
    FROZEN = "frozen"  # the lease could not be proven; the job stood still


class StopReason(StrEnum):
    """Why the money side wants a job to stop. The values are the job's `reason`."""

    WALLET_EMPTY = "wallet_empty"
    BUDGET_REACHED = "budget_reached"


@dataclass(frozen=True)
class BillingTerms:
    """The numbers that billing works with."""

    period_s: int = 60  # how often running time is posted
    confirm_lag_s: float = 5.0  # the lease TTL: younger time may still turn out not to be covered
    stop_s: float = 45.0  # a graceful stop: 30 s of grace, the final checkpoint's end, the loop's own tick
    currency: str = "USD"


@dataclass(frozen=True)
class NewMeter:
    """What billing must know to meter a booking."""

    booking_id: str
    job_id: str
    job_name: str
    renter_id: str
    owner_id: str
    node_id: str
    node_name: str
    epoch: int
    rate_per_hour_micros: int
    budget_total_micros: int | None  # the job's ceiling over all its bookings
    beside_booking_id: str | None = None
    """Of a standby: the booking beside which it stands ready. `booking_id` is then the standby's own id, and `epoch` counts
    the job's standbys."""


@dataclass(frozen=True)
class MeterTotals:
    """What a booking has cost so far."""

    booking_id: str
    held_micros: int
    charged_micros: int
    refunded_micros: int
    settled: bool


@dataclass(frozen=True)
class WalletView:
    currency: str
    available_micros: int
    held_micros: int
    spent_30d_micros: int


@dataclass(frozen=True)
class PaymentIntent:
    """An attempt to bring money in. Its id is the provider's idempotency key."""

    id: str
    user_id: str
    amount_micros: int
    currency: str


@dataclass(frozen=True)
class PaymentOutcome:
    """The provider's answer. `reference` is its own name for the payment."""

    succeeded: bool
    reference: str
    decline_reason: str | None = None


@dataclass(frozen=True)
class ReceiptLine:
    started_at: datetime
    ended_at: datetime | None
    billed: bool
    why: Why
