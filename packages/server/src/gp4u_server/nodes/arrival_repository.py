"""The statements for many nodes that connect at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

# Behind SKIP LOCKED nobody waits, so the order of the locks does not matter.
_LOCK = text(
    "SELECT n.id, n.gateway_id, n.liveness, n.status, n.findings, n.simulated, n.facts = a.facts AND"
    " n.cpus = (a.facts->>'cpus')::bigint AND n.memory_mb = (a.facts->>'memory_mb')::bigint AS same"
    " FROM unnest(CAST(:ids AS text[]), CAST(:facts AS jsonb[])) AS a(id, facts) JOIN nodes n ON n.id = a.id"
    " WHERE n.status <> 'removed' FOR NO KEY UPDATE OF n SKIP LOCKED"
)
_DEVICES = text(
    "SELECT node_id, array_agg(uuid) AS uuids, bool_or(faulted_at IS NOT NULL) AS faulted FROM devices"
    " WHERE node_id = ANY(:ids) AND enrolled GROUP BY node_id"
)
_BEGIN = text(
    "UPDATE nodes n SET gateway_id = :gateway, session_no = n.session_no + 1, session_began_at = :now,"
    " liveness = 'online', last_seen_at = :now, disk_mb = a.disk_mb,"
    " online_since = CASE WHEN n.liveness IN ('online', 'suspect') THEN coalesce(n.online_since, :now) ELSE :now END,"
    " down_ms = n.down_ms + CASE WHEN n.down_since IS NULL THEN 0"
    " ELSE greatest(0, round(extract(epoch FROM :now - n.down_since) * 1000)::bigint) END,"
    " down_since = NULL, lease_ttl_ms = greatest(n.lease_ttl_ms, :least)"
    " FROM unnest(CAST(:ids AS text[]), CAST(:disks AS bigint[])) AS a(id, disk_mb) WHERE n.id = a.id"
    " RETURNING n.id, n.session_no, n.desired_version, n.lease_ttl_ms"
)
_LIVES = text(
    "INSERT INTO node_scores (node_id, agent_life)"
    " SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:lives AS jsonb[]))"
    " ON CONFLICT (node_id) DO UPDATE SET agent_life = excluded.agent_life"
)


async def lock_nodes(session: AsyncSession, facts: Sequence[tuple[str, str]]) -> Sequence[Row[Any]]:
    """Lock the standing ones of these nodes that nobody holds. `facts`: (id, what it said, as JSON); `same`: its row says so."""
    said = {"ids": [node_id for node_id, _ in facts], "facts": [document for _, document in facts]}
    return (await session.execute(_LOCK, said)).all()


async def devices_in_order(session: AsyncSession, node_ids: Sequence[str]) -> dict[str, set[str]]:
    """Node → the UUIDs of its enrolled devices, of the nodes where none of them has failed."""
    found = await session.execute(_DEVICES, {"ids": list(node_ids)})
    devices: dict[str, set[str]] = {node_id: set() for node_id in node_ids}
    for row in found:
        if row.faulted:
            del devices[row.node_id]
        else:
            devices[row.node_id] = set(row.uuids)
    return devices


async def begin_sessions(
    session: AsyncSession,
    disks: Sequence[tuple[str, int]],
    *,
    gateway_id: str,
    now: datetime,
    least_ttl_ms: int,
) -> Sequence[Row[Any]]:
    """Give these nodes, whose rows are locked, to a gateway. `disks`: (id, free MB)."""
    values = {
        "ids": [node_id for node_id, _ in disks],
        "disks": [disk_mb for _, disk_mb in disks],
        "gateway": gateway_id,
        "now": now,
        "least": least_ttl_ms,
    }
    return (await session.execute(_BEGIN, values)).all()


async def keep_lives(session: AsyncSession, lives: Sequence[tuple[str, str]]) -> None:
    """What agents said of themselves when they connected last: (id, JSON)."""
    if lives:
        await session.execute(
            _LIVES, {"ids": [node_id for node_id, _ in lives], "lives": [life for _, life in lives]}
        )
