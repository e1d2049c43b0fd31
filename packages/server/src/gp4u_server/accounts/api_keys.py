"""Use cases of API keys."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.accounts import repository
from gp4u_server.accounts.errors import InvalidExpiry, RoleRequired, TooManyApiKeys
from gp4u_server.accounts.keys import SHOWN_CHARS, hash_of, new_key
from gp4u_server.accounts.models import ApiKeyRow
from gp4u_server.accounts.types import ApiKey, Principal, Role, Scope
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.errors import NotFound
from gp4u_server.kit.ids import new_id
from gp4u_server.kit.paging import Page, decode_cursor, encode_cursor

LIVE_KEYS_MAX = 50


@dataclass(frozen=True)
class ApiKeys:
    """Make, list and revoke keys of one account."""

    clock: Clock

    async def create(
        self,
        session: AsyncSession,
        owner: Principal,
        *,
        name: str,
        scopes: Collection[Scope],
        expires_at: datetime | None,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which nobody can read again.

        Raises InvalidExpiry, TooManyApiKeys, RoleRequired (scope admin without the role).
        """
        now = self.clock.now()
        if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now):
            raise InvalidExpiry(
                "The expiry must be an instant in the future, with its time zone.", field="expires_at"
            )
        if Scope.ADMIN in scopes and Role.ADMIN not in owner.roles:
            raise RoleRequired("A key with the scope admin needs the role admin.", roles=[Role.ADMIN])
        await repository.lock_user(
            session, owner.user_id
        )  # two requests at once must not both be the fiftieth
        if await repository.count_live_keys(session, owner.user_id, now) >= LIVE_KEYS_MAX:
            raise TooManyApiKeys(f"An account has at most {LIVE_KEYS_MAX} live keys; revoke one first.")
        secret = new_key()
        row = ApiKeyRow(
            id=new_id("key"),
            user_id=owner.user_id,
            name=name,
            prefix=secret[:SHOWN_CHARS],
            key_hash=hash_of(secret),
            scopes=sorted(scopes),
            created_at=now,
            expires_at=expires_at,
            last_used_at=None,
            revoked_at=None,
        )
        session.add(row)
        await session.flush()
        return _view(row), secret

    async def page(
        self, session: AsyncSession, user_id: str, *, cursor: str | None, limit: int
    ) -> Page[ApiKey]:
        """The account's keys, newest first."""
        before_id = str(decode_cursor(cursor, str)[0]) if cursor else None
        rows = await repository.keys_of(session, user_id, before_id=before_id, limit=limit + 1)
        next_cursor = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
        return Page(items=[_view(row) for row in rows[:limit]], next_cursor=next_cursor)

    async def revoke(self, session: AsyncSession, user_id: str, key_id: str) -> None:
        """Revoke one of the account's keys. Raises NotFound."""
        if not await repository.revoke_key(session, user_id, key_id, self.clock.now()):
            raise NotFound("There is no such API key.")


def _view(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        row.id,
        row.name,
        row.prefix,
        frozenset(Scope(scope) for scope in row.scopes),
        row.created_at,
        row.expires_at,
        row.last_used_at,
        row.revoked_at,
    )
