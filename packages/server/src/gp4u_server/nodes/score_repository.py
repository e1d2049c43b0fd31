"""Every query about scores and what they rest on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.nodes.reliability import Tally
from gp4u_server.nodes.score_models import NodeScoreRow, ReliabilityTallyRow, ScoreChangeRow

EVERYBODY = ""
_ALL_DONE = ""
"""No model has this name: the row says when everybody was summed up last."""
# A node's model is the one that it has most cards of; on a tie the first by name.
_SUMS = """
    SELECT d.model AS gpu_model, n.owner_id, coalesce(sum(s.host_losses), 0)::bigint AS host_losses,
           sum(n.online_ms + coalesce(round(extract(epoch FROM :now - n.online_since) * 1000), 0))::bigint AS online_ms,
           count(*) AS nodes, :now
    FROM nodes n
    JOIN LATERAL (SELECT model FROM devices WHERE node_id = n.id GROUP BY model ORDER BY count(*) DESC, model LIMIT 1) d
         ON true
    LEFT JOIN node_scores s ON s.node_id = n.id
"""
_INTO = "INSERT INTO reliability_tallies (gpu_model, owner_id, host_losses, online_ms, nodes, computed_at)"
_OR_REPLACE = """
    ON CONFLICT (gpu_model, owner_id) DO UPDATE SET host_losses = excluded.host_losses,
        online_ms = excluded.online_ms, nodes = excluded.nodes, computed_at = excluded.computed_at
"""
_TALLY_LOCK = "nodes: reliability tallies"


@dataclass(frozen=True)
class Standing:
    """What was attributed to one node so far."""

    host_losses: int = 0
    network_losses: int = 0
    away_ms: int = 0
    agent_life: dict[str, Any] | None = None


async def standings(session: AsyncSession, node_ids: Sequence[str]) -> dict[str, Standing]:
    """Of those nodes that have any."""
    found = await session.execute(
        select(
            NodeScoreRow.node_id,
            NodeScoreRow.host_losses,
            NodeScoreRow.network_losses,
            NodeScoreRow.away_ms,
            NodeScoreRow.agent_life,
        ).where(NodeScoreRow.node_id.in_(node_ids))
    )
    return {
        row.node_id: Standing(row.host_losses, row.network_losses, row.away_ms, row.agent_life)
        for row in found
    }


async def add(
    session: AsyncSession, node_id: str, *, host_losses: int, network_losses: int, away_ms: int
) -> None:
    """Add to what was attributed to the node; the caller has locked its row."""
    row = NodeScoreRow
    await session.execute(pg_insert(row).values(node_id=node_id).on_conflict_do_nothing())
    await session.execute(
        update(row)
        .where(row.node_id == node_id)
        .values(
            host_losses=row.host_losses + host_losses,
            network_losses=row.network_losses + network_losses,
            away_ms=row.away_ms + away_ms,
        )
    )


async def keep_life(session: AsyncSession, node_id: str, life: dict[str, Any] | None) -> None:
    """What the agent said of itself when it connected last."""
    await session.execute(
        pg_insert(NodeScoreRow)
        .values(node_id=node_id, agent_life=life)
        .on_conflict_do_update(index_elements=[NodeScoreRow.node_id], set_={"agent_life": life})
    )


async def insert_change(session: AsyncSession, **values: Any) -> None:
    """Store one change."""
    await session.execute(insert(ScoreChangeRow).values(**values))


async def changes(
    session: AsyncSession, node_id: str, *, before_id: str | None, limit: int
) -> Sequence[ScoreChangeRow]:
    """Changes of a node's score, newest first."""
    query = select(ScoreChangeRow).where(ScoreChangeRow.node_id == node_id)
    if before_id is not None:
        query = query.where(ScoreChangeRow.id < before_id)
    return (await session.scalars(query.order_by(ScoreChangeRow.id.desc()).limit(limit))).all()


@dataclass(frozen=True)
class Sums:
    """Tallies of some owners and models: by (model, owner), and of everybody by model."""

    by_owner: dict[tuple[str, str], Tally]
    of_everybody: dict[str, Tally]

    def of_owner(self, owner_id: str) -> dict[str, Tally]:
        """By model."""
        return {model: tally for (model, owner), tally in self.by_owner.items() if owner == owner_id}


async def sums(session: AsyncSession, owner_ids: Sequence[str], models: Sequence[str]) -> Sums:
    """Tallies of these owners in every model they have, and of everybody in those models and in `models`."""
    row = ReliabilityTallyRow
    theirs = select(row.gpu_model).where(row.owner_id.in_(owner_ids))
    found = await session.execute(
        select(row.gpu_model, row.owner_id, row.host_losses, row.online_ms).where(
            or_(
                row.owner_id.in_(owner_ids),
                and_(row.owner_id == EVERYBODY, or_(row.gpu_model.in_(models), row.gpu_model.in_(theirs))),
            )
        )
    )
    by_owner, of_everybody = {}, {}
    for each in found:
        tally = Tally(each.host_losses, each.online_ms / 3_600_000)
        if each.owner_id == EVERYBODY:
            of_everybody[each.gpu_model] = tally
        else:
            by_owner[each.gpu_model, each.owner_id] = tally
    return Sums(by_owner, of_everybody)


async def tally_owner(session: AsyncSession, owner_id: str, now: datetime) -> None:
    """Sum one owner's nodes up again, by model, and everybody's of those models from what all owners' rows say."""
    await _take_turn(session)
    await session.execute(
        text(f"{_INTO} {_SUMS} WHERE n.owner_id = :owner GROUP BY 1, 2 {_OR_REPLACE}"),
        {"now": now, "owner": owner_id},
    )
    await session.execute(
        text(
            f"{_INTO} SELECT gpu_model, '', sum(host_losses), sum(online_ms), sum(nodes), :now"  # noqa: S608 (constants)
            " FROM reliability_tallies WHERE owner_id <> '' AND gpu_model IN"
            f" (SELECT gpu_model FROM reliability_tallies WHERE owner_id = :owner) GROUP BY 1 {_OR_REPLACE}"
        ),
        {"now": now, "owner": owner_id},
    )


async def tally_all(session: AsyncSession, now: datetime) -> None:
    """Sum all nodes up again, and note that it was done. What is no longer there goes."""
    await _take_turn(session)
    await session.execute(text(f"{_INTO} {_SUMS} GROUP BY 1, 2 {_OR_REPLACE}"), {"now": now})
    await session.execute(
        text("DELETE FROM reliability_tallies WHERE owner_id <> '' AND computed_at < :now"), {"now": now}
    )
    await session.execute(
        text(
            f"{_INTO} SELECT gpu_model, '', sum(host_losses), sum(online_ms), sum(nodes), :now"  # noqa: S608 (constants)
            f" FROM reliability_tallies WHERE owner_id <> '' GROUP BY 1 {_OR_REPLACE}"
        ),
        {"now": now},
    )
    await session.execute(
        text(f"{_INTO} VALUES (:mark, '', 0, 0, 0, :now) {_OR_REPLACE}"), {"mark": _ALL_DONE, "now": now}
    )


async def last_tally_at(session: AsyncSession) -> datetime | None:
    """When everybody was summed up last."""
    found: datetime | None = await session.scalar(
        select(ReliabilityTallyRow.computed_at).where(
            ReliabilityTallyRow.gpu_model == _ALL_DONE, ReliabilityTallyRow.owner_id == EVERYBODY
        )
    )
    return found


async def _take_turn(session: AsyncSession) -> None:
    # Two that sum up at once would meet on the same rows in another order.
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": _TALLY_LOCK}
    )
