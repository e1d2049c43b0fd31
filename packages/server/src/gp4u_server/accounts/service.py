"""Use cases of accounts. Passwords are hashed with no transaction open, so these open their own."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.accounts import repository
from gp4u_server.accounts.demo import DEMO_DOMAIN, is_demo_address
from gp4u_server.accounts.devices import device_of
from gp4u_server.accounts.errors import (
    EmailRefused,
    EmailTaken,
    InvalidToken,
    RefreshReused,
    RoleNotSelfChosen,
    WrongCredentials,
)
from gp4u_server.accounts.keys import hash_of
from gp4u_server.accounts.passwords import PasswordHasher, check_password
from gp4u_server.accounts.refresh import (
    FAMILY_LIFETIME,
    Presented,
    Verdict,
    judge,
    new_refresh_token,
    seal,
    unseal,
)
from gp4u_server.accounts.repository import AnyRow
from gp4u_server.accounts.roles import grant_role
from gp4u_server.accounts.tokens import AUDIENCE_API, TokenSigner
from gp4u_server.accounts.types import OpenSession, Role, SessionKind, SignedIn, User
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.kit.errors import NotFound
from gp4u_server.kit.ids import new_id
from gp4u_server.kit.paging import Page, decode_cursor, encode_cursor

ACCESS_TTL_S = 600
SELF_CHOSEN_ROLES = frozenset({Role.RENTER, Role.OWNER})


@dataclass(frozen=True)
class Accounts:
    """Registration, signing in and out, refresh families, roles."""

    database: Database
    signer: TokenSigner
    hasher: PasswordHasher
    clock: Clock
    demo: bool = False  # whether the demo's accounts are let in; their password is known to everybody

    async def register(
        self,
        *,
        email: str,
        password: str,
        name: str,
        roles: Collection[Role],
        kind: SessionKind,
        user_agent: str = "",
    ) -> SignedIn:
        """A new account, signed in. Raises EmailTaken, EmailRefused, PasswordRefused, RoleNotSelfChosen."""
        if self._is_closed(email):
            raise EmailRefused(f"Addresses at {DEMO_DOMAIN} are for the demo; use your own.", field="email")
        if not roles or not SELF_CHOSEN_ROLES.issuperset(roles):
            raise RoleNotSelfChosen(
                "Choose renter, owner, or both; other roles are granted by an admin.", field="roles"
            )
        user = await self._create(email=email, password=password, name=name, roles=roles)
        return await self._open_session(user, kind, user_agent)

    async def sign_in(
        self, *, email: str, password: str, kind: SessionKind, user_agent: str = ""
    ) -> SignedIn:
        """A new session. Raises WrongCredentials, after the same time for an unknown address."""
        async with self.database.transaction() as session:
            row = await repository.user_with_password(session, email)
        encoded: str | None = row.password_hash if row and not self._is_closed(email) else None
        if not await self.hasher.verify(password, encoded) or row is None or encoded is None:
            raise WrongCredentials("The address or the password is wrong.")
        if self.hasher.is_outdated(encoded):
            renewed = await self.hasher.hash(password)
            async with self.database.transaction() as session:
                await repository.update_password_hash(session, row.id, old_hash=encoded, new_hash=renewed)
        return await self._open_session(user_of(row), kind, user_agent)

    async def refresh(self, refresh_token: str) -> SignedIn:
        """Rotate: the token's one successor and a fresh access token.

        Raises InvalidToken, or RefreshReused after the family's end was committed.
        """
        async with self.database.transaction() as session:
            session_id, successor = await self._rotate(session, refresh_token)
            row = await repository.session_with_user(session, session_id) if successor else None
        if successor is None:
            raise RefreshReused("This token was used before, so the session was ended. Sign in again.")
        if row is None or self._is_closed(row.email):
            raise InvalidToken("The refresh token is not valid. Sign in again.")
        return self._signed_in(user_of(row), session_id, successor, row)

    async def _rotate(self, session: AsyncSession, token: str) -> tuple[str, str | None]:
        """(session id, successor); no successor means that the family was ended because of reuse."""
        now, token_hash, successor = self.clock.now(), hash_of(token), new_refresh_token()
        session_id = await repository.spend_refresh_token(
            session,
            token_hash=token_hash,
            successor_hash=hash_of(successor),
            sealed_successor=seal(successor, under=token),
            now=now,
        )
        if session_id is not None:
            await repository.insert_refresh_token(
                session, token_hash=hash_of(successor), session_id=session_id, now=now
            )
            return session_id, successor
        row = await repository.presented_token(session, token_hash)
        verdict = judge(None if row is None else _presented(row), self.clock.now())
        if row is not None and verdict is Verdict.REPLAY:
            return row.session_id, unseal(row.sealed_successor, under=token)
        if row is not None and verdict is Verdict.REUSED:
            await repository.revoke_session(session, row.session_id, because="refresh token reused", now=now)
            return row.session_id, None
        raise InvalidToken("The refresh token is not valid. Sign in again.")

    async def session_of_refresh_token(self, session: AsyncSession, refresh_token: str) -> str | None:
        """The live family that a refresh token belongs to, used or not."""
        row = await repository.presented_token(session, hash_of(refresh_token))
        return None if row is None or row.revoked_at is not None else row.session_id

    async def end_session(self, session: AsyncSession, session_id: str) -> None:
        """Sign out: no token of this session opens anything any more."""
        await repository.revoke_session(session, session_id, because="signed out", now=self.clock.now())

    async def open_sessions(
        self, session: AsyncSession, user_id: str, *, cursor: str | None, limit: int
    ) -> Page[OpenSession]:
        """Where the account is signed in, the newest first."""
        before_id = str(decode_cursor(cursor, str)[0]) if cursor else None
        rows = await repository.live_sessions_of(
            session, user_id, now=self.clock.now(), before_id=before_id, limit=limit + 1
        )
        return Page(
            items=[
                OpenSession(
                    row.id,
                    row.kind,
                    device_of(row.user_agent),
                    row.created_at,
                    row.last_used_at,
                    row.expires_at,
                )
                for row in rows[:limit]
            ],
            next_cursor=encode_cursor(rows[limit - 1].id) if len(rows) > limit else None,
        )

    async def end_own_session(self, session: AsyncSession, user_id: str, session_id: str) -> None:
        """Sign the account out there, at once. Raises NotFound, for another's session too."""
        now = self.clock.now()
        ended = await repository.revoke_own_session(
            session, user_id, session_id, because="ended by its owner", now=now
        )
        if not ended:
            raise NotFound("There is no such session.")

    async def users_by_id(self, session: AsyncSession, user_ids: Collection[str]) -> dict[str, User]:
        """The accounts with these ids, for names beside other things. Unknown ids are left out."""
        return {row.id: user_of(row) for row in await repository.users(session, set(user_ids))}

    async def grant_role(self, session: AsyncSession, *, email: str, role: Role) -> User:
        """Give the account `role`; harmless when it has it. Raises NotFound. The caller checks who may grant."""
        return await grant_role(session, email=email, role=role)

    async def ensure_account(self, *, email: str, password: str, name: str, roles: Collection[Role]) -> User:
        """The account of `email`, made when it is missing: for the demo and for the first admin of a platform."""
        async with self.database.transaction() as session:
            row = await repository.user_with_password(session, email)
        if row is not None:
            return user_of(row)
        return await self._create(email=email, password=password, name=name, roles=roles)

    async def sweep(self, session: AsyncSession, *, batch: int) -> int:
        """Delete at most `batch` sessions that ended over a day ago, with their tokens; answers how many."""
        a_day_ago = self.clock.now() - timedelta(days=1)
        return await repository.delete_dead_sessions(session, dead_before=a_day_ago, batch=batch)

    async def _create(self, *, email: str, password: str, name: str, roles: Collection[Role]) -> User:
        check_password(password, email=email)
        async with self.database.transaction() as session:
            if await repository.user_with_password(session, email):
                raise EmailTaken("There is an account with this address; sign in instead.", field="email")
        encoded = await self.hasher.hash(password)
        user = User(new_id("usr"), email, name, frozenset(roles), self.clock.now())
        try:
            async with self.database.transaction() as session:
                await repository.insert_user(
                    session,
                    user_id=user.id,
                    email=email,
                    name=name,
                    password_hash=encoded,
                    roles=sorted(user.roles),
                    now=user.created_at,
                )
        except IntegrityError as error:
            raise EmailTaken(
                "There is an account with this address; sign in instead.", field="email"
            ) from error
        return user

    def _is_closed(self, email: str) -> bool:
        return not self.demo and is_demo_address(email)

    async def _open_session(self, user: User, kind: SessionKind, user_agent: str) -> SignedIn:
        session_id, refresh_token, now = new_id("ses"), new_refresh_token(), self.clock.now()
        async with self.database.transaction() as session:
            await repository.insert_session(
                session,
                session_id=session_id,
                user_id=user.id,
                kind=kind,
                user_agent=user_agent,
                now=now,
                lifetime=FAMILY_LIFETIME,
            )
            await repository.insert_refresh_token(
                session, token_hash=hash_of(refresh_token), session_id=session_id, now=now
            )
            row = await repository.session_with_user(session, session_id)
        assert row is not None
        return self._signed_in(user, session_id, refresh_token, row)

    def _signed_in(self, user: User, session_id: str, refresh_token: str, family: AnyRow) -> SignedIn:
        claims = {"sid": session_id, "roles": sorted(user.roles)}
        access_token = self.signer.sign(user.id, AUDIENCE_API, ACCESS_TTL_S, claims)
        return SignedIn(user, session_id, access_token, ACCESS_TTL_S, refresh_token, family.expires_at)


def user_of(row: AnyRow) -> User:
    """The public view of an account's row."""
    return User(row.id, row.email, row.name, frozenset(Role(role) for role in row.roles), row.created_at)


def _presented(row: AnyRow) -> Presented:
    return Presented(row.revoked_at is not None, row.expires_at, row.used_at, bool(row.successor_used))
