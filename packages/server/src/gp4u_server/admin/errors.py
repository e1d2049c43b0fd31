"""Situations in the admins' rooms."""

from gp4u_server.kit.errors import DomainError, Kind


class VerificationRunning(DomainError):
    """Somebody's verification of the books is still reading them."""

    code = "verification_running"
    kind = Kind.CONFLICT
