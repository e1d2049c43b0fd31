"""Request and response models of accounts."""

from datetime import datetime
from typing import Annotated

from gp4u_protocol.job_spec import Strict
from pydantic import EmailStr, Field, StringConstraints

from gp4u_server.accounts.types import Role as Role
from gp4u_server.accounts.types import Scope as Scope
from gp4u_server.accounts.types import SessionKind as SessionKind

Password = Annotated[str, StringConstraints(min_length=8, max_length=1024)]


class RegisterIn(Strict):
    email: EmailStr
    password: Password
    name: str = Field(default="", max_length=200)
    roles: set[Role] = Field(
        default={Role.RENTER}, description="renter and owner may be chosen; others are granted"
    )


class SignInIn(Strict):
    email: EmailStr
    password: str = Field(max_length=1024)


class UserOut(Strict):
    id: str
    email: str
    name: str
    roles: list[Role]
    created_at: datetime


class TokensOut(Strict):
    """For programs (POST /auth/token). Browsers get cookies instead and never see these."""

    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme, not a secret
    expires_in_s: int
    user: UserOut


class RefreshIn(Strict):
    refresh_token: str = Field(max_length=512)


class SessionOut(Strict):
    """GET /auth/session: who the browser's cookies belong to, and the token to echo as X-CSRF-Token."""

    user: UserOut
    csrf_token: str


class OpenSessionOut(Strict):
    """One place where the caller is signed in."""

    id: str
    kind: SessionKind
    device: str = Field(description='as it named itself, e.g. "Firefox on Linux" or "gp4u/0.1.0"')
    created_at: datetime
    last_used_at: datetime = Field(description="to about ten minutes")
    expires_at: datetime
    current: bool = Field(description="the session that asks")


class ApiKeyIn(Strict):
    name: str = Field(min_length=1, max_length=100)
    scopes: set[Scope] = {Scope.READ, Scope.WRITE}
    expires_at: datetime | None = None


class ApiKeyOut(Strict):
    id: str
    name: str
    prefix: str = Field(description="the first characters, to recognise it by")
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class ApiKeyCreatedOut(ApiKeyOut):
    key: str = Field(description="the key itself, shown this once")
