"""Facts about money. Heard in the transaction that made them true."""

from datetime import datetime
from typing import ClassVar

from gp4u_server.billing.types import PostingKind, Why
from gp4u_server.foundation.events import Event


class BillingEvent(Event):
    """Base: every fact names the booking, its job and its renter."""

    booking_id: str
    job_id: str
    renter_id: str
    at: datetime

    @property
    def key(self) -> str:
        return self.job_id


class ChargePosted(BillingEvent):
    """Money moved for running time. `amount_micros` is positive for both kinds."""

    topic: ClassVar[str] = "billing.charge_posted"
    kind: PostingKind
    why: Why
    amount_micros: int
    through: datetime
    lost_us: int = 0  # of a refund for lost work: how much running time was lost


class FundsExhausted(BillingEvent):
    """What is left pays for a graceful stop and no more: stop the job now."""

    topic: ClassVar[str] = "billing.funds_exhausted"
    available_micros: int


class BudgetReached(BillingEvent):
    """The job is about to reach the total that its renter allowed: stop it now."""

    topic: ClassVar[str] = "billing.budget_reached"
    limit_micros: int
