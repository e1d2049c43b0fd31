"""The market's reactions to facts about nodes, in the transaction of the fact."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.foundation.events import EventBus
from gp4u_server.market.service import MarketService
from gp4u_server.nodes.events import (
    NodeDutyChanged,
    NodeFactsChanged,
    NodeLivenessChanged,
    NodeRemoved,
    NodeScoreChanged,
)


@dataclass(frozen=True)
class MarketHandlers:
    """Keeps offers in step with their nodes: a lost node's offer leaves search in the same commit."""

    market: MarketService

    def subscribe(self, bus: EventBus) -> None:
        """Register everything (called by bootstrap)."""
        bus.subscribe(NodeLivenessChanged, self.on_liveness_changed, self.on_livenesses_changed)
        bus.subscribe(NodeFactsChanged, self.on_facts_changed)
        bus.subscribe(NodeDutyChanged, self.on_duty_changed)
        bus.subscribe(NodeRemoved, self.on_removed)
        bus.subscribe(NodeScoreChanged, self.on_score_changed)

    async def on_liveness_changed(self, session: AsyncSession, event: NodeLivenessChanged) -> None:
        """The node can, or can no longer, be booked."""
        await self.market.refresh(session, event.node_id)

    async def on_livenesses_changed(
        self, session: AsyncSession, events: Sequence[NodeLivenessChanged]
    ) -> None:
        """The same of several nodes."""
        for node_id in await self.market.listed(session, [event.node_id for event in events]):
            await self.market.refresh(session, node_id)

    async def on_facts_changed(self, session: AsyncSession, event: NodeFactsChanged) -> None:
        """The node has other hardware, or another standing."""
        await self.market.refresh(session, event.node_id)

    async def on_duty_changed(self, session: AsyncSession, event: NodeDutyChanged) -> None:
        """The node is drained, quarantined or back: its offer is bookable only in service."""
        await self.market.refresh(session, event.node_id)

    async def on_score_changed(self, session: AsyncSession, event: NodeScoreChanged) -> None:
        """Search shows the new score, and the router weighs the new hazard, from this commit on."""
        await self.market.refresh(session, event.node_id)

    async def on_removed(self, session: AsyncSession, event: NodeRemoved) -> None:
        """The node is gone."""
        await self.market.withdraw(session, event.node_id)
