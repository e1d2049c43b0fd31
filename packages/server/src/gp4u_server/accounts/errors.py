"""Situations in accounts."""

from gp4u_server.kit.errors import DomainError, Kind


class Unauthenticated(DomainError):
    """Nobody is signed in."""

    code = "unauthenticated"
    kind = Kind.UNAUTHENTICATED


class InvalidToken(Unauthenticated):
    """The credentials are not good: damaged, foreign, revoked, or meant for something else."""

    code = "invalid_token"


class TokenExpired(Unauthenticated):
    """The token was good once. Refresh, then try again."""

    code = "token_expired"


class RefreshReused(Unauthenticated):
    """A spent refresh token came back, so somebody else may hold it: the whole session has ended."""

    code = "refresh_token_reused"


class WrongCredentials(Unauthenticated):
    """Unknown address or wrong password; which of the two is not said."""

    code = "wrong_credentials"


class CsrfRefused(DomainError):
    """A request that a foreign page could have caused."""

    code = "csrf_refused"
    kind = Kind.FORBIDDEN


class RoleRequired(DomainError):
    """The account lacks a role."""

    code = "role_required"
    kind = Kind.FORBIDDEN


class ScopeRequired(DomainError):
    """The API key lacks a scope."""

    code = "scope_required"
    kind = Kind.FORBIDDEN


class SessionRequired(DomainError):
    """Only a signed-in person may do this, not an API key."""

    code = "session_required"
    kind = Kind.FORBIDDEN


class EmailTaken(DomainError):
    """There is an account with this address."""

    code = "email_taken"
    kind = Kind.CONFLICT


class PasswordRefused(DomainError):
    """The password is too short, too long, or among the first that anybody would try."""

    code = "password_refused"


class RoleNotSelfChosen(DomainError):
    """Operator and admin are granted, not chosen."""

    code = "role_not_self_chosen"


class TooManyApiKeys(DomainError):
    """The account has as many live keys as it may have."""

    code = "too_many_api_keys"
    kind = Kind.CONFLICT


class InvalidExpiry(DomainError):
    """The expiry lies in the past."""

    code = "invalid_expiry"


class SignInBusy(DomainError):
    """More sign-ins are waiting than we are willing to queue."""

    code = "sign_in_busy"
    kind = Kind.UNAVAILABLE


class EmailRefused(DomainError):
    """The address belongs to the demo, which this platform does not run."""

    code = "email_refused"
