"""Domain errors: situations with a stable code, a kind, and a detail that a user may read.

`api.errors` maps the kind to an HTTP status once; nothing else knows about HTTP.
"""

from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """What sort of failure a situation is."""

    INVALID = "invalid"  # the input can never work: 422
    UNAUTHENTICATED = "unauthenticated"  # who are you: 401
    FORBIDDEN = "forbidden"  # known, but not allowed: 403
    NOT_FOUND = "not_found"  # not there, or another tenant's: 404
    CONFLICT = "conflict"  # the state of things forbids it now: 409
    PAYMENT_REQUIRED = "payment_required"  # the wallet does not cover it: 402
    TOO_LARGE = "too_large"  # over a limit in size: 413
    TOO_MANY = "too_many"  # over a limit in rate: 429
    UNAVAILABLE = "unavailable"  # something of ours is down, try again: 503


class DomainError(Exception):
    """Base of every situation. Subclasses set `code` and `kind`; the message is shown to users.

    Args:
        detail: a sentence that says what is wrong and what to do about it.
        extra: further public members of the error document (for example `suggestion`, `field`).
    """

    code: ClassVar[str] = "error"
    kind: ClassVar[Kind] = Kind.INVALID

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class NotFound(DomainError):
    """No such object for this caller. Another tenant's object is answered exactly like a missing one."""

    code = "not_found"
    kind = Kind.NOT_FOUND
