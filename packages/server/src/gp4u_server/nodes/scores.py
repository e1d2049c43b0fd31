"""Use cases of scores: what was attributed to a node, what it did to its score, and what is expected of it. Part of
`NodeService`; the formula is in `reliability`, and who attributes is `catalyst.incidents`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gp4u_protocol.messages import AgentLife
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.kit.ids import new_id
from gp4u_server.nodes import repository, score_repository
from gp4u_server.nodes.duties import NodeDuties
from gp4u_server.nodes.errors import NodeNotFound
from gp4u_server.nodes.events import NodeScoreChanged
from gp4u_server.nodes.models import NodeRow
from gp4u_server.nodes.reliability import Prior, Record, Tally, fleet_hazard_per_hour, prior_of, record_of
from gp4u_server.nodes.score_repository import Standing, Sums
from gp4u_server.nodes.types import ScoreChange

TALLY_EVERY = timedelta(hours=1)


@dataclass(frozen=True)
class NodeScores(NodeDuties):
    """What counts for and against a node. Whoever attributes holds the node's row."""

    async def attribute(
        self,
        session: AsyncSession,
        node_id: str,
        *,
        host_losses: int = 0,
        network_losses: int = 0,
        away_ms: int = 0,
        incident_id: str | None,
        reason: str,
    ) -> ScoreChange | None:
        """Add to the node's record (negative: take back) and note what that did to its score.

        Locks the node, also a removed one; its offer follows in the same transaction. None: nothing was to be added.
        Raises NodeNotFound.
        """
        row = await repository.lock_any(session, node_id)
        if row is None:
            raise NodeNotFound("There is no such node.")
        if not (host_losses or network_losses or away_ms):
            return None
        now = self.clock.now()
        before, prior = (await self.expectations(session, [row], now))[node_id]
        await score_repository.add(
            session, node_id, host_losses=host_losses, network_losses=network_losses, away_ms=away_ms
        )
        online_s = online_s_of(row, now)
        was = record_of(before.host_losses, online_s, before.away_ms / 1000, prior).reliability
        is_now = record_of(
            before.host_losses + host_losses, online_s, (before.away_ms + away_ms) / 1000, prior
        ).reliability
        change = ScoreChange(
            id=new_id("chg"),
            node_id=node_id,
            before=was,
            after=is_now,
            host_losses=host_losses,
            network_losses=network_losses,
            away_s=away_ms / 1000,
            incident_id=incident_id,
            reason=reason,
            at=now,
        )
        await score_repository.insert_change(
            session,
            id=change.id,
            node_id=node_id,
            before=was,
            after=is_now,
            host_losses=host_losses,
            network_losses=network_losses,
            away_ms=away_ms,
            incident_id=incident_id,
            reason=reason,
            at=now,
        )
        await self.bus.publish(
            session, NodeScoreChanged(node_id=node_id, before=was, after=is_now, incident_id=incident_id)
        )
        return change

    async def lock_any(self, session: AsyncSession, node_id: str) -> None:
        """Hold the node's row until commit, a removed one's too: before its incidents, always. Raises NodeNotFound."""
        if await repository.lock_any(session, node_id) is None:
            raise NodeNotFound("There is no such node.")

    async def expectations(
        self, session: AsyncSession, rows: Sequence[NodeRow], now: datetime
    ) -> dict[str, tuple[Standing, Prior]]:
        """What was attributed to each of these nodes, and what is expected of it: three statements for any number."""
        ids = [row.id for row in rows]
        models = await repository.main_models(session, ids)
        standings = await score_repository.standings(session, ids)
        sums = await score_repository.sums(
            session, sorted({row.owner_id for row in rows}), sorted(set(models.values()))
        )
        found = {}
        for row in rows:
            standing = standings.get(row.id, Standing())
            own = Tally(standing.host_losses, online_s_of(row, now) / 3600)
            prior = prior_from(owner_id=row.owner_id, model=models.get(row.id), own=own, sums=sums)
            found[row.id] = (standing, prior)
        return found

    async def records(self, session: AsyncSession, node_ids: Sequence[str]) -> dict[str, Record]:
        """How well nodes did and will probably do, removed ones too."""
        now = self.clock.now()
        rows = await repository.any_nodes(session, node_ids)
        known = await self.expectations(session, rows, now)
        return {
            row.id: record_of(
                known[row.id][0].host_losses,
                online_s_of(row, now),
                known[row.id][0].away_ms / 1000,
                known[row.id][1],
            )
            for row in rows
        }

    async def score_changes(
        self, session: AsyncSession, node_id: str, *, before_id: str | None = None, limit: int = 50
    ) -> list[ScoreChange]:
        """Changes of a node's score, newest first."""
        rows = await score_repository.changes(session, node_id, before_id=before_id, limit=limit)
        return [
            ScoreChange(
                id=row.id,
                node_id=row.node_id,
                before=row.before,
                after=row.after,
                host_losses=row.host_losses,
                network_losses=row.network_losses,
                away_s=row.away_ms / 1000,
                incident_id=row.incident_id,
                reason=row.reason,
                at=row.at,
            )
            for row in rows
        ]

    async def agent_life(self, session: AsyncSession, node_id: str) -> AgentLife | None:
        """What the node's agent said of itself when it connected last."""
        standing = (await score_repository.standings(session, [node_id])).get(node_id)
        if standing is None or standing.agent_life is None:
            return None
        try:
            return AgentLife.model_validate(standing.agent_life)
        except ValidationError:
            return None

    async def tally_owner(self, session: AsyncSession, owner_id: str) -> None:
        """One owner's nodes are summed up anew: something was attributed to one of them."""
        await score_repository.tally_owner(session, owner_id, self.clock.now())

    async def tally_all(self, session: AsyncSession) -> bool:
        """Everybody is summed up anew, once an hour; False: that is not due."""
        now = self.clock.now()
        last = await score_repository.last_tally_at(session)
        if last is not None and now - last < TALLY_EVERY:
            return False
        await score_repository.tally_all(session, now)
        return True


def online_s_of(row: NodeRow, now: datetime) -> float:
    """Seconds online so far."""
    open_s = 0.0 if row.online_since is None else max(0.0, (now - row.online_since).total_seconds())
    return row.online_ms / 1000 + open_s


def prior_from(*, owner_id: str, model: str | None, own: Tally, sums: Sums) -> Prior:
    """What is expected of a node by its model and its owner's other nodes, itself left out of both.

    `own`: the node's own losses and hours; `model` None: it has no card.
    """
    owner = sums.of_owner(owner_id)
    hazards = {
        name: fleet_hazard_per_hour(sums.of_everybody.get(name, Tally()).without(tally))
        for name, tally in owner.items()
    }
    fleet = sums.of_everybody.get(model or "", Tally()).without(owner.get(model or "", Tally()))
    if model is not None and model in owner:
        owner = {**owner, model: owner[model].without(own)}
    return prior_of(fleet, owner, hazards)
