"""From a request to a Principal: a header if there is one, else cookies; never a mixture."""

import hmac
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine

from gp4u_server.accounts import repository
from gp4u_server.accounts.cookies import CSRF_HEADER, SAFE_METHODS, Cookies
from gp4u_server.accounts.demo import is_demo_address
from gp4u_server.accounts.errors import CsrfRefused, InvalidToken, ScopeRequired, Unauthenticated
from gp4u_server.accounts.keys import PREFIX, hash_of, is_well_formed
from gp4u_server.accounts.repository import AnyRow
from gp4u_server.accounts.tokens import AUDIENCE_API, TokenSigner
from gp4u_server.accounts.types import ALL_SCOPES, Principal, Role, Scope, Via
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.kit.errors import DomainError

KEY_USE_NOTED_EVERY = timedelta(minutes=1)
_CSRF_PURPOSE = "csrf token v1"


@dataclass(frozen=True)
class Authenticator:
    """Finds out who makes a request. Sessions and keys are looked up each time, so a revocation counts at once."""

    database: Database
    signer: TokenSigner
    cookies: Cookies
    clock: Clock
    demo: bool = False  # see accounts.demo

    async def principal_of(self, request: Request) -> Principal:
        """The caller. Raises Unauthenticated, InvalidToken, TokenExpired, CsrfRefused or ScopeRequired."""
        known: Principal | None = getattr(request.state, "principal", None)
        if known is None:
            known = await self._authenticate(request)
            request.state.principal = known
        return known

    async def still_admits(self, request: Request) -> bool:
        """Whether the session or key that let this request in is still good: ask during answers that go on for long.

        An access token that ran out meanwhile does not end them, the end of its session does.
        """
        known = await self.principal_of(request)
        if known.session_id is None:
            _, _, credential = request.headers.get("authorization", "").partition(" ")
            try:
                await self._by_key(credential.strip(), request.method)
            except DomainError:
                return False
            return True
        async with self._reading().connect() as connection:
            row = await repository.session_with_user(connection, known.session_id)
        return row is not None and row.revoked_at is None and row.expires_at > self.clock.now()

    def offers_credentials(self, request: Request) -> bool:
        """Whether the request claims to be somebody."""
        return "authorization" in request.headers or self.cookies.access_token(request) is not None

    def csrf_token(self, session_id: str) -> str:
        """What unsafe requests by cookie echo in X-CSRF-Token. Bound to the session, so nobody else's is good."""
        return self.signer.mac(_CSRF_PURPOSE, session_id)

    def check_csrf(self, request: Request, session_id: str) -> None:
        """Raise CsrfRefused unless an unsafe request by cookie was made by our own page for this session."""
        self.cookies.check_same_site(request)
        echoed = request.headers.get(CSRF_HEADER, "").encode()
        if not hmac.compare_digest(echoed, self.csrf_token(session_id).encode()):
            raise CsrfRefused(f"Send the session's csrf_token in {CSRF_HEADER}.")

    async def _authenticate(self, request: Request) -> Principal:
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, credential = header.partition(" ")
            credential = credential.strip()
            if scheme.lower() != "bearer" or not credential:
                raise InvalidToken("Send `Authorization: Bearer` with an access token or an API key.")
            if credential.startswith(PREFIX):
                return await self._by_key(credential, request.method)
            return await self._by_access_token(credential, "bearer")
        cookie = self.cookies.access_token(request)
        if cookie is None:
            raise Unauthenticated("Sign in first.")
        principal = await self._by_access_token(cookie, "cookie")
        if request.method not in SAFE_METHODS:
            assert principal.session_id is not None
            self.check_csrf(request, principal.session_id)
        return principal

    async def _by_access_token(self, token: str, via: Via) -> Principal:
        claims = self.signer.verify(token, AUDIENCE_API)
        session_id, roles = claims.get("sid"), claims.get("roles")
        if not isinstance(session_id, str) or not isinstance(roles, list):
            raise InvalidToken("The token is not valid.")
        async with self._reading().connect() as connection:
            row = await repository.session_with_user(connection, session_id)
        if row is None or row.id != claims["sub"] or row.revoked_at is not None or self._is_closed(row.email):
            raise InvalidToken("The session has ended. Sign in again.")
        if row.expires_at <= self.clock.now():
            raise InvalidToken("The session has ended. Sign in again.")
        return _principal(row, ALL_SCOPES, session_id, via)

    async def _by_key(self, key: str, method: str) -> Principal:
        if not is_well_formed(key):
            raise InvalidToken("This is not an API key: a character is missing or wrong.")
        now = self.clock.now()
        async with self._reading().connect() as connection:
            row = await repository.key_with_user(connection, hash_of(key))
            if row is None or row.key_revoked_at is not None or self._is_closed(row.email):
                raise InvalidToken("The API key is unknown or was revoked.")
            if row.key_expires_at is not None and row.key_expires_at <= now:
                raise InvalidToken("The API key has expired.")
            noted = row.key_last_used_at
            if noted is None or noted <= now - KEY_USE_NOTED_EVERY:
                await repository.touch_key(
                    connection, row.key_id, now=now, unless_since=now - KEY_USE_NOTED_EVERY
                )
        scopes = frozenset(Scope(scope) for scope in row.key_scopes)
        needed = Scope.READ if method in SAFE_METHODS else Scope.WRITE
        if needed not in scopes:
            raise ScopeRequired(f"This API key lacks the scope {needed}.", scope=needed)
        return _principal(row, scopes, None, "api_key")

    def _is_closed(self, email: str) -> bool:
        return not self.demo and is_demo_address(email)

    def _reading(self) -> AsyncEngine:
        # One statement needs no transaction around it: autocommit saves two round trips a request, and nothing
        # is held open while the endpoint works.
        return self.database.engine.execution_options(isolation_level="AUTOCOMMIT")


def _principal(row: AnyRow, scopes: frozenset[Scope], session_id: str | None, via: Via) -> Principal:
    roles = frozenset(Role(role) for role in row.roles)
    return Principal(row.id, row.email, row.name, roles, scopes, session_id, via)
