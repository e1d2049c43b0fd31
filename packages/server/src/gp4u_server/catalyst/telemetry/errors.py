"""Situations of telemetry."""

from gp4u_server.kit.errors import DomainError


class UnknownMetric(DomainError):
    """A metric that does not exist."""

    code = "unknown_metric"


class BadInterval(DomainError):
    """A time that ends before it begins."""

    code = "bad_interval"
