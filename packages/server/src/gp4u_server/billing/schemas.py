"""Request and response models of billing: wallet, charges, earnings."""

from datetime import datetime

from gp4u_protocol.job_spec import Strict
from pydantic import Field


class WalletOut(Strict):
    currency: str
    available_micros: int
    held_micros: int = Field(description="set aside for running bookings")
    spent_30d_micros: int


class TopUpIn(Strict):
    amount_micros: int = Field(ge=1_000_000, le=10_000_000_000, description="between 1 and 10,000 units")


class WalletEntryOut(Strict):
    """One leg of a transfer that touched the wallet or its holds."""

    id: str
    at: datetime
    kind: str = Field(description="top_up, hold, release, charge, refund")
    amount_micros: int = Field(description="negative: money left the available balance")
    balance_after_micros: int
    booking_id: str | None
    job_id: str | None
    description: str


class ReceiptLineOut(Strict):
    """One confirmed interval of a booking."""

    started_at: datetime
    ended_at: datetime | None
    seconds: float
    billed: bool
    why: str = Field(description="ran, lost_work, frozen")


class StandbyReceiptOut(Strict):
    """What standing by cost: `billed_us` × rate, rounded half to even, as on a booking's own bill."""

    standby_id: str
    node_name: str
    rate_per_hour_micros: int
    owner_share_percent: int
    lines: list[ReceiptLineOut] = Field(description="when the node was proven ready to take the job over")
    billed_us: int
    charged_micros: int
    refunded_micros: int
    final: bool


class ReceiptOut(Strict):
    """A bill that both sides can recompute.

    The billed lines' microseconds are `billed_us`; `billed_us` × rate, rounded half to even, is `charged_micros` −
    `refunded_micros` + `unpaid_micros`; and `owner_micros` is its share of charged − refunded, by largest remainder.
    """

    booking_id: str
    job_id: str
    currency: str
    rate_per_hour_micros: int
    owner_share_percent: int
    lines: list[ReceiptLineOut]
    billed_us: int = Field(description="microseconds billed")
    charged_micros: int
    refunded_micros: int
    unpaid_micros: int = Field(
        description="owed and not covered by the wallet or the job's budget; written off when the bill is final"
    )
    owner_micros: int
    platform_micros: int
    final: bool
    standbys: list[StandbyReceiptOut] = Field(
        default=[],
        description="nodes that stood ready beside this booking, each with a bill of its own, on top; for its renter",
    )


class EarningsOut(Strict):
    currency: str
    earned_total_micros: int
    earned_24h_micros: int
    earned_30d_micros: int
    owner_share_percent: int
    by_node: list["NodeEarningsOut"]
    by_day: list["DayEarningsOut"]


class NodeEarningsOut(Strict):
    node_id: str
    node_name: str
    gross_micros: int
    platform_fee_micros: int
    earned_micros: int
    billed_s: float


class DayEarningsOut(Strict):
    day: str = Field(description="YYYY-MM-DD, UTC")
    earned_micros: int
