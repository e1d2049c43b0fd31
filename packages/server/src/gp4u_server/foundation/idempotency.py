"""`Idempotency-Key`: a POST that is sent twice happens once and is answered twice.

    @router.post("/bookings", status_code=201, response_model=BookingOut)
    async def create_booking(body: BookingIn, user: CurrentUser, session: Session, key: IdempotencyKey = None, ...):
        return await idempotent(
            session, principal=user.user_id, route="POST /bookings", key=key, body=body,
            action=lambda: bookings.book(session, user, body),
        )

The key's row is written in the transaction of the action, before it: a second request with the same key waits on that
row until the first has committed (and then gets its answer) or rolled back (and then runs itself). Only answers of
actions that succeeded are kept; a refusal leaves nothing behind, so the client may correct the situation and retry.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated

from fastapi import Header
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy import Index, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base
from gp4u_server.kit.errors import DomainError, Kind

KEPT_FOR_H = 24
REPLAYED_HEADER = "Idempotent-Replayed"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Any string that is new for a new request. The same key and body give the same answer for 24 h.",
    ),
]


class IdempotencyKeyReused(DomainError):
    """The key was used for something else."""

    code = "idempotency_key_reused"
    kind = Kind.INVALID


class IdempotencyKeyRow(Base):
    """One answered request. `principal` is in the key, so nobody meets another's answers."""

    __tablename__ = "idempotency_keys"
    principal: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[bytes]
    status: Mapped[int | None]
    answer: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index(None, "created_at"),)


async def idempotent(
    session: AsyncSession,
    *,
    principal: str,
    route: str,
    key: str | None,
    body: BaseModel,
    action: Callable[[], Awaitable[BaseModel]],
    status: int = 201,
) -> Response:
    """Run `action` at most once per (principal, route, key), in the caller's transaction, and answer it as JSON.

    Without a key it simply runs. Raises IdempotencyKeyReused when the key came with another body before. Do not use
    it for answers that hold a secret: the answer is stored as it is.
    """
    if key is None:
        return _response((await action()).model_dump_json(), status)
    row = IdempotencyKeyRow
    mine = (row.principal == principal, row.route == route, row.key == key)
    body_hash = hash_of(body)
    inserted = await session.execute(
        pg_insert(row)
        .values(principal=principal, route=route, key=key, body_hash=body_hash)
        .on_conflict_do_nothing()
        .returning(row.key)
    )
    if inserted.scalar_one_or_none() is None:
        stored = (
            await session.execute(select(row.body_hash, row.status, row.answer).where(*mine))
        ).one_or_none()
        if stored is None or stored.status is None or stored.answer is None:
            # Swept between our insert and our read: a day-old key, so the request is a new one to us.
            raise IdempotencyKeyReused("This Idempotency-Key has just expired; use a new one.")
        if stored.body_hash != body_hash:
            raise IdempotencyKeyReused("This Idempotency-Key was used with another body; use a new key.")
        return _response(stored.answer, stored.status, {REPLAYED_HEADER: "true"})
    answer = (await action()).model_dump_json()
    await session.execute(update(row).where(*mine).values(status=status, answer=answer))
    return _response(answer, status)


async def sweep_idempotency_keys(session: AsyncSession, *, batch: int) -> int:
    """Delete at most `batch` keys older than a day; answers how many."""
    row = IdempotencyKeyRow
    old = (
        select(row.principal, row.route, row.key)
        .where(row.created_at < func.now() - text(f"interval '{KEPT_FOR_H} hours'"))
        .order_by(row.created_at)
        .limit(batch)
        .with_for_update(skip_locked=True)
        .cte("old")
    )
    deleted = await session.execute(
        delete(row)
        .where(row.principal == old.c.principal, row.route == old.c.route, row.key == old.c.key)
        .returning(row.key)
    )
    return len(deleted.all())


def hash_of(body: BaseModel) -> bytes:
    """SHA-256 of what the body says: the order of fields, spaces and members of sets make no difference."""
    canonical = json.dumps(_canonical(body.model_dump()), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).digest()


def _canonical(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _canonical(member) for name, member in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_canonical(member) for member in value), key=str)
    if isinstance(value, list | tuple):
        return [_canonical(member) for member in value]
    return value


def _response(answer: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(answer, status, headers, media_type="application/json")
