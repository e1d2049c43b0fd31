"""Public types of accounts."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """What a person may do. One person may hold several."""

    RENTER = "renter"
    OWNER = "owner"
    OPERATOR = "operator"
    ADMIN = "admin"


class Scope(StrEnum):
    """What an API key may do."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)
Via = Literal["cookie", "bearer", "api_key"]


@dataclass(frozen=True)
class Principal:
    """Who makes this request, and how they proved it."""

    user_id: str
    email: str
    name: str
    roles: frozenset[Role]
    scopes: frozenset[Scope]
    session_id: str | None  # None for API keys
    via: Via

    @property
    def is_admin(self) -> bool:
        """Holds the role admin, and what they came with may be used for it."""
        return Role.ADMIN in self.roles and Scope.ADMIN in self.scopes


@dataclass(frozen=True)
class User:
    """An account as other modules see it."""

    id: str
    email: str
    name: str
    roles: frozenset[Role]
    created_at: datetime


SessionKind = Literal["browser", "program"]


@dataclass(frozen=True)
class OpenSession:
    """Somewhere that an account is signed in. `last_used_at` is as exact as an access token is long."""

    id: str
    kind: SessionKind
    device: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class SignedIn:
    """A fresh pair of tokens and whom they belong to."""

    user: User
    session_id: str
    access_token: str
    access_ttl_s: int
    refresh_token: str
    refresh_expires_at: datetime


@dataclass(frozen=True)
class ApiKey:
    """An API key without the key itself."""

    id: str
    name: str
    prefix: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
