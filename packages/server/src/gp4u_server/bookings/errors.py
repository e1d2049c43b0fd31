"""Situations of bookings."""

from gp4u_server.billing.errors import BookingNotFound, InsufficientFunds
from gp4u_server.kit.errors import DomainError, Kind
from gp4u_server.market.errors import OfferTaken

__all__ = ["BookingNotFound", "DevicesBooked", "InsufficientFunds", "OfferTaken", "RuntimeNotOffered"]


class RuntimeNotOffered(DomainError):
    """No listed node has what the job must run in; waiting for one would be in vain."""

    code = "runtime_not_offered"
    kind = Kind.INVALID


class DevicesBooked(DomainError):
    """A GPU is in another live booking at that time."""

    code = "devices_booked"
    kind = Kind.CONFLICT
