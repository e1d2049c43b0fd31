"""Every query of the admins' rooms: reads across the domains' tables, each along an index and with a limit.

Ids begin with their instant (kit.ids), so "since" is a range of the primary key and needs no index of its own.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.admin.types import (
    Backlog,
    BooksCount,
    FailoverView,
    GatewayView,
    ListedNode,
    PersonView,
    ProcessView,
)
from gp4u_server.kit.ids import earliest_id
from gp4u_server.nodes.duty import shown_state
from gp4u_server.nodes.types import Duty, Liveness, NodeStatus

_PAGE_OF_NODES = """
    SELECT n.*, u.email AS owner_email, d.models, d.gpus, d.used,
           n.online_ms / 1000.0 + coalesce(extract(epoch FROM now() - n.online_since), 0) AS online_s
    FROM (SELECT * FROM nodes WHERE status <> 'removed'<older> ORDER BY id DESC LIMIT :limit) n
    JOIN users u ON u.id = n.owner_id
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(DISTINCT model), '{}') AS models, count(*) AS gpus,
               count(*) FILTER (WHERE taken_as IS NOT NULL) AS used
        FROM devices WHERE node_id = n.id AND present) d
    ORDER BY n.id DESC
"""
BOOKS_LOCK = "admin: the books are being verified"


async def nodes_by_state(session: AsyncSession) -> dict[str, int]:
    """Standing nodes: verified ones by liveness and duty in one word, the others as `pending`."""
    found = await session.execute(
        text(
            "SELECT status, liveness, duty, count(*) AS n FROM nodes WHERE status <> 'removed' GROUP BY 1, 2, 3"
        )
    )
    counted: Counter[str] = Counter()
    for row in found:
        verified = row.status == NodeStatus.VERIFIED
        counted[shown_state(Liveness(row.liveness), Duty(row.duty)) if verified else row.status] += row.n
    return dict(counted)


async def devices_in_use(session: AsyncSession) -> tuple[int, int]:
    """GPUs that hold a booking, and GPUs there are."""
    row = (
        await session.execute(
            text(
                "SELECT count(*) FILTER (WHERE taken_as IS NOT NULL) AS used, count(*) AS n"
                " FROM devices WHERE present AND enrolled"
            )
        )
    ).one()
    return row.used, row.n


async def open_jobs_by_state(session: AsyncSession) -> dict[str, int]:
    """Jobs that have not ended."""
    return await _counts(
        session,
        "SELECT state, count(*) AS n FROM jobs WHERE state NOT IN ('done', 'failed', 'stopped') GROUP BY 1",
    )


async def ended_jobs_by_state(session: AsyncSession, since: datetime) -> dict[str, int]:
    """Jobs submitted since then that have ended."""
    return await _counts(
        session,
        "SELECT state, count(*) AS n FROM jobs"
        " WHERE id >= :since AND state IN ('done', 'failed', 'stopped') GROUP BY 1",
        since=earliest_id("job", since),
    )


async def processes(session: AsyncSession) -> Sequence[ProcessView]:
    """Who is connected to this database, by kind of process."""
    found = await session.execute(
        text(
            "SELECT application_name AS name, count(*) AS connections, max(state_change) AS last_active_at"
            " FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'gp4u-%'"
            " GROUP BY 1 ORDER BY 1"
        )
    )
    return [ProcessView(row.name.removeprefix("gp4u-"), row.connections, row.last_active_at) for row in found]


async def gateways(session: AsyncSession, limit: int) -> Sequence[GatewayView]:
    """Gateways that have not ended, the longest running first."""
    found = await session.execute(
        text(
            "SELECT gateway_id AS id, address, started_at, renewed_at FROM gateway_authorities"
            " WHERE ended_at IS NULL ORDER BY started_at LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [GatewayView(row.id, row.address, row.started_at, row.renewed_at) for row in found]


async def backlog(session: AsyncSession, since: datetime) -> Backlog:
    """Messages not relayed yet, and tasks given up since then."""
    row = (
        await session.execute(
            text(
                "SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL) AS waiting,"
                " (SELECT created_at FROM outbox WHERE sent_at IS NULL ORDER BY id LIMIT 1) AS oldest,"
                " (SELECT count(*) FROM dead_tasks WHERE failed_at >= :since) AS given_up"
            ),
            {"since": since},
        )
    ).one()
    return Backlog(row.waiting, row.oldest, row.given_up)


async def failovers(session: AsyncSession, since: datetime, limit: int) -> Sequence[FailoverView]:
    """Failovers that ended with a running job, newest first."""
    found = await session.execute(
        text(
            "SELECT p.id, p.job_id, j.name AS job_name, p.epoch, p.node_id, p.node_name, p.running_at, p.recovery"
            " FROM placements p JOIN jobs j ON j.id = p.job_id"
            " WHERE p.id >= :since AND p.recovery ? 'recovery_ms' AND p.running_at IS NOT NULL"
            " ORDER BY p.id DESC LIMIT :limit"
        ),
        {"since": earliest_id("plc", since), "limit": limit},
    )
    return [
        FailoverView(
            placement_id=row.id,
            job_id=row.job_id,
            job_name=row.job_name,
            epoch=row.epoch,
            node_id=row.node_id,
            node_name=row.node_name,
            resumed_at=row.running_at,
            recovery_ms=row.recovery,
        )
        for row in found
    ]


async def people(
    session: AsyncSession, *, email: str | None, before_id: str | None, limit: int
) -> Sequence[PersonView]:
    """A page of accounts, newest first; with `email` that one alone."""
    # Two statements in one, so that each has a plan of its own: an OR over both would read the whole table.
    chosen = [
        *(["lower(email) = lower(:email)"] if email is not None else []),
        *(["id < :before"] if before_id is not None else []),
    ]
    where = f" WHERE {' AND '.join(chosen)}" if chosen else ""
    found = await session.execute(
        text(f"SELECT id, email, name, roles, created_at FROM users{where} ORDER BY id DESC LIMIT :limit"),  # noqa: S608
        {"email": email, "before": before_id, "limit": limit},
    )
    return [PersonView(row.id, row.email, row.name, tuple(row.roles), row.created_at) for row in found]


async def nodes(session: AsyncSession, *, before_id: str | None, limit: int) -> Sequence[ListedNode]:
    """A page of nodes that are not removed, newest first."""
    older = " AND id < :before" if before_id is not None else ""
    found_page = _PAGE_OF_NODES.replace("<older>", older)
    found = await session.execute(text(found_page), {"before": before_id, "limit": limit})
    return [
        ListedNode(
            id=row.id,
            name=row.name,
            owner_id=row.owner_id,
            owner_email=row.owner_email,
            region=row.region,
            status=row.status,
            findings=tuple(row.findings),
            liveness=row.liveness,
            state=shown_state(Liveness(row.liveness), Duty(row.duty)),
            simulated=row.simulated,
            gpu_models=tuple(row.models),
            gpus=row.gpus,
            gpus_in_use=row.used,
            losses=row.losses,
            online_s=float(row.online_s),
            last_seen_at=row.last_seen_at,
            enrolled_at=row.enrolled_at,
        )
        for row in found
    ]


async def reserve_books(session: AsyncSession) -> bool:
    """The right to verify the books until the transaction ends; False when somebody else has it."""
    return bool(
        await session.scalar(
            text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": BOOKS_LOCK}
        )
    )


async def count_books(session: AsyncSession) -> BooksCount:
    """How many transfers, entries and accounts the ledger has."""
    row = (
        await session.execute(
            text(
                "SELECT (SELECT count(*) FROM ledger_transfers) AS transfers,"
                " (SELECT count(*) FROM ledger_entries) AS entries, (SELECT count(*) FROM ledger_accounts) AS accounts"
            )
        )
    ).one()
    return BooksCount(row.transfers, row.entries, row.accounts)


async def _counts(session: AsyncSession, statement: str, **values: Any) -> dict[str, int]:
    return {row.state: row.n for row in await session.execute(text(statement), values)}
