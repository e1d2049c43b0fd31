"""Keeps what search shows of a node's record fresh: a node that just runs on gains reliability without any event."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.market.service import MarketService

log = logging.getLogger(__name__)
FRESH_FOR = timedelta(hours=1)


@dataclass(frozen=True)
class OfferRefreshLoop:
    """Rewrites the reliability of offers that nothing touched for an hour, one short transaction each."""

    database: Database
    market: MarketService
    clock: Clock
    name: str = "offer_refresh"
    interval_s: float = 60.0

    async def run_once(self) -> int:
        """One batch; returns how many nodes were refreshed."""
        async with self.database.transaction() as session:
            stale = await self.market.stale_nodes(session, before=self.clock.now() - FRESH_FOR)
        for node_id in stale:
            try:
                async with self.database.transaction() as session:
                    await self.market.refresh(session, node_id)
            except Exception:  # one node that cannot be read keeps no other's offer stale
                log.exception("refreshing the offer of %s failed", node_id)
                async with self.database.transaction() as session:
                    await self.market.put_refresh_off(session, node_id)
        return len(stale)
