"""What a gateway reads of nodes' rows: what changed, and no more.

`nodes.changed_in` is the number of the transaction that changed a row last, kept by a trigger. Numbers are not given in the
order of commits, so "newer than the newest I saw" would miss a transaction that began early and committed late. A read
therefore begins at the *horizon* of an earlier one: the lowest number that was still in progress then. Whatever has a
smaller number had ended, and that read saw it; whatever it could not see has this number or a greater one.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.health.decisions import HeldRow

HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon"
# The horizon comes from the snapshot that the rows are read with.
CHANGED_SINCE = (
    "WITH h AS (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon)"
    " SELECT h.horizon, n.id, n.gateway_id, n.session_no, n.desired_version, n.liveness, n.lease_ttl_ms, n.status"
    " FROM h LEFT JOIN nodes n ON n.changed_in >= :since"
)
ROWS_OF = (
    "SELECT id, gateway_id, session_no, desired_version, liveness, lease_ttl_ms, status FROM nodes"
    " WHERE id = ANY(:ids)"
)
ALIVE_AFTER = (
    "SELECT id, gateway_id, session_no, desired_version, liveness, lease_ttl_ms, status FROM nodes"
    " WHERE gateway_id = :gateway AND liveness IN ('online', 'suspect') AND id > :after ORDER BY id LIMIT :limit"
)

LEFT_WITH = (
    "SELECT gateway_id, count(*) AS nodes FROM nodes"
    " WHERE gateway_id = ANY(:ids) AND liveness IN ('online', 'suspect') GROUP BY gateway_id"
)


class NodeSight(NamedTuple):
    """One node's row as seen."""

    gateway_id: str | None
    row: HeldRow | None
    """None: the node is removed."""

    def held_by(self, gateway_id: str) -> HeldRow | None:
        """The row where its newest session is this gateway's."""
        return self.row if self.gateway_id == gateway_id else None


class Changes(NamedTuple):
    """What a read found, and where the next one begins."""

    horizon: int
    rows: dict[str, NodeSight]


async def horizon(session: AsyncSession) -> int:
    """The lowest number of a transaction that has not ended."""
    return int(await session.scalar(text(HORIZON)) or 0)


async def changed_since(session: AsyncSession, since: int) -> Changes:
    """All rows that were written by transactions from `since` on, and the horizon of this very read."""
    found = (await session.execute(text(CHANGED_SINCE), {"since": since})).all()
    return Changes(int(found[0].horizon), _sights(row for row in found if row.id is not None))


async def rows_of(session: AsyncSession, node_ids: Sequence[str]) -> dict[str, NodeSight]:
    """These rows."""
    if not node_ids:
        return {}
    return _sights(await session.execute(text(ROWS_OF), {"ids": list(node_ids)}))


async def alive_after(session: AsyncSession, gateway_id: str, after: str, limit: int) -> dict[str, NodeSight]:
    """A slice of the nodes that are called alive in this gateway's hands."""
    found = await session.execute(text(ALIVE_AFTER), {"gateway": gateway_id, "after": after, "limit": limit})
    return _sights(found)


async def nodes_left(session: AsyncSession, gateway_ids: Iterable[str]) -> dict[str, int]:
    """Gateway → how many nodes are called alive in its hands, where there are any."""
    if not (asked := list(gateway_ids)):
        return {}
    found = await session.execute(text(LEFT_WITH), {"ids": asked})
    return {row.gateway_id: int(row.nodes) for row in found}


async def unwatched_s(session: AsyncSession, gateway_ids: Iterable[str | None]) -> dict[str, float]:
    """Gateway → for how many seconds it has not renewed its right to renew leases."""
    if not (asked := [each for each in gateway_ids if each is not None]):
        return {}
    found = await session.execute(
        text(
            "SELECT gateway_id, extract(epoch FROM clock_timestamp() - renewed_at) AS seconds FROM gateway_authorities"
            " WHERE gateway_id = ANY(:ids)"
        ),
        {"ids": asked},
    )
    return {row.gateway_id: float(row.seconds) for row in found}


def _sights(rows: Iterable[Any]) -> dict[str, NodeSight]:
    return {
        row.id: NodeSight(
            row.gateway_id,
            None
            if row.status == "removed"
            else HeldRow(row.session_no, row.desired_version, row.liveness, row.lease_ttl_ms / 1000),
        )
        for row in rows
    }
