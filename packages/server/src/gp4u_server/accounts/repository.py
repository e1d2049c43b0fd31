"""Every query of accounts."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import aliased

from gp4u_server.accounts.models import ApiKeyRow, RefreshTokenRow, SessionRow, UserRow

Executor = AsyncSession | AsyncConnection
AnyRow: TypeAlias = Row[*tuple[Any, ...]]

_user_columns = (UserRow.id, UserRow.email, UserRow.name, UserRow.roles, UserRow.created_at)


async def user_with_password(session: Executor, email: str) -> AnyRow | None:
    """The account of `email`, whatever its case, with its password's hash."""
    query = select(*_user_columns, UserRow.password_hash).where(func.lower(UserRow.email) == email.lower())
    return (await session.execute(query)).one_or_none()


async def users(session: Executor, user_ids: Collection[str]) -> Sequence[AnyRow]:
    """The accounts with these ids."""
    return (await session.execute(select(*_user_columns).where(UserRow.id.in_(user_ids)))).all()


async def insert_user(
    session: Executor,
    *,
    user_id: str,
    email: str,
    name: str,
    password_hash: str,
    roles: list[str],
    now: datetime,
) -> None:
    """A new account. The database refuses a second one with the address."""
    values = {"id": user_id, "email": email, "name": name, "password_hash": password_hash}
    await session.execute(insert(UserRow).values(**values, roles=roles, created_at=now))


async def lock_user(session: Executor, user_id: str) -> bool:
    """Hold the account's row until the transaction ends; answers whether it is there."""
    query = select(UserRow.id).where(UserRow.id == user_id).with_for_update(key_share=True)
    return (await session.execute(query)).one_or_none() is not None


async def update_password_hash(session: Executor, user_id: str, *, old_hash: str, new_hash: str) -> None:
    """Replace the hash unless the password was changed in the meantime."""
    same = (UserRow.id == user_id, UserRow.password_hash == old_hash)
    await session.execute(update(UserRow).where(*same).values(password_hash=new_hash))


async def add_role(session: Executor, email: str, role: str) -> AnyRow | None:
    """Grant `role`; answers the account, None when there is none."""
    by_email = func.lower(UserRow.email) == email.lower()
    missing = ~UserRow.roles.contains([role])
    await session.execute(
        update(UserRow).where(by_email, missing).values(roles=func.array_append(UserRow.roles, role))
    )
    return (await session.execute(select(*_user_columns).where(by_email))).one_or_none()


async def insert_session(
    session: Executor,
    *,
    session_id: str,
    user_id: str,
    kind: str,
    user_agent: str,
    now: datetime,
    lifetime: timedelta,
) -> None:
    """A new family."""
    values = {"id": session_id, "user_id": user_id, "kind": kind, "user_agent": user_agent}
    await session.execute(insert(SessionRow).values(**values, created_at=now, expires_at=now + lifetime))


async def insert_refresh_token(
    session: Executor, *, token_hash: bytes, session_id: str, now: datetime
) -> None:
    """A new unused token. The database refuses a second unused one in the family."""
    values = {"token_hash": token_hash, "session_id": session_id}
    await session.execute(insert(RefreshTokenRow).values(**values, created_at=now))


async def spend_refresh_token(
    session: Executor, *, token_hash: bytes, successor_hash: bytes, sealed_successor: bytes, now: datetime
) -> str | None:
    """Mark an unused token of a live family used, once among all who try; answers its family or None."""
    token, family = RefreshTokenRow, SessionRow
    spent = await session.execute(
        update(token)
        .where(token.token_hash == token_hash, token.used_at.is_(None), token.session_id == family.id)
        .where(family.revoked_at.is_(None), family.expires_at > now)
        .values(used_at=now, successor_hash=successor_hash, sealed_successor=sealed_successor)
        .returning(token.session_id)
    )
    return spent.scalar_one_or_none()


async def presented_token(session: Executor, token_hash: bytes) -> AnyRow | None:
    """A token with its family and whether its successor was used."""
    token, successor = RefreshTokenRow, aliased(RefreshTokenRow)
    query = (
        select(
            token.session_id,
            token.used_at,
            token.sealed_successor,
            successor.used_at.is_not(None).label("successor_used"),
            SessionRow.revoked_at,
            SessionRow.expires_at,
        )
        .join(SessionRow, SessionRow.id == token.session_id)
        .outerjoin(successor, successor.token_hash == token.successor_hash)
        .where(token.token_hash == token_hash)
    )
    return (await session.execute(query)).one_or_none()


async def revoke_session(session: Executor, session_id: str, *, because: str, now: datetime) -> None:
    """End a family. Harmless on one that has ended."""
    live = (SessionRow.id == session_id, SessionRow.revoked_at.is_(None))
    await session.execute(update(SessionRow).where(*live).values(revoked_at=now, revoked_because=because))


async def live_sessions_of(
    session: Executor, user_id: str, *, now: datetime, before_id: str | None, limit: int
) -> Sequence[AnyRow]:
    """An account's families that still open something, the newest first, each with its last rotation's instant."""
    family, token = SessionRow, RefreshTokenRow
    query = (
        select(
            family.id,
            family.kind,
            family.user_agent,
            family.created_at,
            family.expires_at,
            func.coalesce(token.created_at, family.created_at).label("last_used_at"),
        )
        # Its one unused token was made when it was used last.
        .outerjoin(token, and_(token.session_id == family.id, token.used_at.is_(None)))
        .where(family.user_id == user_id, family.revoked_at.is_(None), family.expires_at > now)
    )
    if before_id is not None:
        query = query.where(family.id < before_id)
    return (await session.execute(query.order_by(family.id.desc()).limit(limit))).all()


async def revoke_own_session(
    session: Executor, user_id: str, session_id: str, *, because: str, now: datetime
) -> bool:
    """End one of the account's live families; answers whether it was one."""
    mine = (SessionRow.id == session_id, SessionRow.user_id == user_id)
    revoked = await session.execute(
        update(SessionRow)
        .where(*mine, SessionRow.revoked_at.is_(None), SessionRow.expires_at > now)
        .values(revoked_at=now, revoked_because=because)
        .returning(SessionRow.id)
    )
    return revoked.scalar_one_or_none() is not None


async def session_with_user(session: Executor, session_id: str) -> AnyRow | None:
    """A family (id, expiry, revocation) with its account."""
    query = (
        select(*_user_columns, SessionRow.expires_at, SessionRow.revoked_at)
        .join(UserRow, UserRow.id == SessionRow.user_id)
        .where(SessionRow.id == session_id)
    )
    return (await session.execute(query)).one_or_none()


async def key_with_user(session: Executor, key_hash: bytes) -> AnyRow | None:
    """An API key with its account; the key's columns are prefixed `key_`."""
    key = ApiKeyRow
    query = (
        select(
            *_user_columns,
            key.id.label("key_id"),
            key.scopes.label("key_scopes"),
            key.expires_at.label("key_expires_at"),
            key.revoked_at.label("key_revoked_at"),
            key.last_used_at.label("key_last_used_at"),
        )
        .join(UserRow, UserRow.id == key.user_id)
        .where(key.key_hash == key_hash)
    )
    return (await session.execute(query)).one_or_none()


async def touch_key(session: Executor, key_id: str, *, now: datetime, unless_since: datetime) -> None:
    """Note that the key was used, unless that was noted after `unless_since` already."""
    stale = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at <= unless_since)
    await session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id, stale).values(last_used_at=now))


async def count_live_keys(session: Executor, user_id: str, now: datetime) -> int:
    """Keys of the account that are neither revoked nor expired."""
    unexpired = or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now)
    live = (ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None), unexpired)
    return (await session.execute(select(func.count()).select_from(ApiKeyRow).where(*live))).scalar_one()


async def keys_of(
    session: AsyncSession, user_id: str, *, before_id: str | None, limit: int
) -> Sequence[ApiKeyRow]:
    """The account's keys, newest first."""
    query = select(ApiKeyRow).where(ApiKeyRow.user_id == user_id)
    if before_id is not None:
        query = query.where(ApiKeyRow.id < before_id)
    return (await session.execute(query.order_by(ApiKeyRow.id.desc()).limit(limit))).scalars().all()


async def revoke_key(session: Executor, user_id: str, key_id: str, now: datetime) -> bool:
    """Revoke one of the account's keys; answers whether it is one. The first revocation's instant stays."""
    mine = (ApiKeyRow.id == key_id, ApiKeyRow.user_id == user_id)
    values = {"revoked_at": func.coalesce(ApiKeyRow.revoked_at, now)}
    revoked = await session.execute(update(ApiKeyRow).where(*mine).values(**values).returning(ApiKeyRow.id))
    return revoked.scalar_one_or_none() is not None


async def delete_dead_sessions(session: Executor, *, dead_before: datetime, batch: int) -> int:
    """Delete at most `batch` families that ended before `dead_before`, with their tokens."""
    dead = (
        select(SessionRow.id)
        .where(or_(SessionRow.expires_at < dead_before, SessionRow.revoked_at < dead_before))
        .limit(batch)
        .with_for_update(skip_locked=True)
    )
    deleted = await session.execute(
        delete(SessionRow).where(SessionRow.id.in_(dead.scalar_subquery())).returning(SessionRow.id)
    )
    return len(deleted.all())
