"""Tidying up: rows that nobody will ask for again, in bounded batches of short transactions."""

from collections.abc import Awaitable, Callable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.accounts.service import Accounts
from gp4u_server.foundation.idempotency import sweep_idempotency_keys
from gp4u_server.foundation.outbox import sweep_outbox
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.db import Database
from gp4u_server.worker.app import app
from gp4u_server.worker.runtime import run

BATCH = 1000
BATCHES_MAX = 20

Sweep = Callable[[AsyncSession], Awaitable[int]]


async def in_batches(database: Database, sweep: Sweep) -> int:
    """Repeat `sweep` until it finds less than a batch, or it was enough for this time; answers how many rows."""
    total = 0
    for _ in range(BATCHES_MAX):
        async with database.transaction() as session:
            swept = await sweep(session)
        total += swept
        if swept < BATCH:
            break
    return total


async def sweep_enrolment_tokens(session: AsyncSession, *, batch: int) -> int:
    """Delete at most `batch` enrolment tokens that expired a week ago; answers how many."""
    deleted = await session.execute(
        text(
            "DELETE FROM enrolment_tokens WHERE id IN (SELECT id FROM enrolment_tokens"
            " WHERE expires_at < now() - interval '7 days' LIMIT :batch FOR UPDATE SKIP LOCKED) RETURNING id"
        ),
        {"batch": batch},
    )
    return len(deleted.all())


def _swept(choose: Callable[[Platform], Sweep]) -> int:
    async def task(platform: Platform) -> int:
        return await in_batches(platform.get(Database), choose(platform))

    return run(task)


@app.task  # type: ignore[untyped-decorator]
def idempotency_keys() -> int:
    """Keys older than a day."""
    return _swept(lambda _: lambda session: sweep_idempotency_keys(session, batch=BATCH))


@app.task  # type: ignore[untyped-decorator]
def sessions() -> int:
    """Sessions that ended over a day ago, with their refresh tokens."""
    return _swept(lambda platform: lambda session: platform.get(Accounts).sweep(session, batch=BATCH))


@app.task  # type: ignore[untyped-decorator]
def enrolment_tokens() -> int:
    """Enrolment tokens that expired a week ago."""
    return _swept(lambda _: lambda session: sweep_enrolment_tokens(session, batch=BATCH))


@app.task  # type: ignore[untyped-decorator]
def outbox() -> int:
    """Messages that were relayed over a day ago."""
    return _swept(lambda _: lambda session: sweep_outbox(session, batch=BATCH))
