"""Situations of telemetry."""

from gp4u_server.kit.errors import DomainError, Kind, NotFound


class UnknownMetric(DomainError):
    """A metric that does not exist."""

    code = "unknown_metric"


class BadInterval(DomainError):
    """A time that ends before it begins."""

    code = "bad_interval"


class HoldNotFound(NotFound):
    """No such hold."""

    code = "hold_not_found"


class HoldDecided(DomainError):
    """Somebody decided it already, or its sign was not seen any more."""

    code = "hold_decided"
    kind = Kind.CONFLICT
