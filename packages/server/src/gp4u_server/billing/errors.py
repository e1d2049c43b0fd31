"""What can go wrong with money, as users meet it."""

from gp4u_server.kit.errors import DomainError, Kind, NotFound
from gp4u_server.ledger.errors import InsufficientFunds

__all__ = [
    "BookingNotFound",
    "BudgetSpent",
    "InsufficientFunds",
    "KeyReused",
    "PaymentDeclined",
    "PaymentUnavailable",
]


class BudgetSpent(InsufficientFunds):
    """The job's own budget is used up."""

    code = "budget_reached"


class PaymentDeclined(DomainError):
    """The provider said no; no money moved."""

    code = "payment_declined"
    kind = Kind.PAYMENT_REQUIRED


class PaymentUnavailable(DomainError):
    """The provider gave no answer; the attempt is kept and finished later, once."""

    code = "payment_unavailable"
    kind = Kind.UNAVAILABLE


class KeyReused(DomainError):
    """The same Idempotency-Key came with another amount before."""

    code = "idempotency_key_reused"
    kind = Kind.INVALID


class BookingNotFound(NotFound):
    """No such booking for this caller; a stranger's booking answers the same."""

    code = "booking_not_found"
