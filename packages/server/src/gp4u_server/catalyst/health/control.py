"""The controller's part of health: nodes whose gateway died and that never came back elsewhere."""

from dataclasses import dataclass, field, replace

import structlog

from gp4u_server.catalyst.health.authority import AuthorityWatch
from gp4u_server.catalyst.health.lease_table import Change
from gp4u_server.catalyst.health.service import HealthService
from gp4u_server.catalyst.health.takeover import Departures
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.nodes.service import NodeService

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class DeadGatewayLoop:
    """Watches gateways' rows, ends one that stood still for certain, and takes the nodes that do not leave it for another."""

    database: Database
    health: HealthService
    clock: Clock
    watch: AuthorityWatch = field(default_factory=AuthorityWatch)
    departures: Departures = field(default_factory=Departures)
    name: str = "dead_gateways"
    interval_s: float = 1.0
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """One look; returns how many nodes were declared lost."""
        began = self.clock.monotonic_s()
        try:
            async with self.database.transaction() as session:
                rows = await self.health.standing_authorities(session)
                ttls_s = await self.health.longest_ttls(session)
        except Exception:
            self.watch.missed()
            raise
        dead = self.watch.observe(rows, began, self.clock.monotonic_s(), ttls_s)
        for gateway_id, renewed_at in dead.items():
            async with self.database.transaction() as session:
                if await self.health.take_over(session, gateway_id, renewed_at) is not None:
                    log.warning("gateway_dead", gateway_id=gateway_id)
        standing_still = self.departures.standing_still(rows, began)
        looked = self.clock.monotonic_s()
        async with self.database.transaction() as session:
            # Also those that another controller ended before it died half-way through the nodes.
            ended = await self.health.ended_gateways(session)
            left = await self.health.nodes_left(session, {*ended, *standing_still})
            verdict = self.departures.observe(left, ended, looked)
            losses: list[Change] = []
            for gateway_id in verdict.free:
                losses += await self.health.losses_of(session, gateway_id)
        for gateway_id in verdict.held:
            log.info("losses_held_back", gateway_id=gateway_id, nodes=left[gateway_id])
        for loss in losses:
            # Silent since its gateway was, however long those before it took to write: none of that time is charged.
            silent_s = loss.silent_s + self.clock.monotonic_s() - looked
            async with self.database.transaction() as session:
                if await self.health.record_change(session, replace(loss, silent_s=silent_s)):
                    log.warning("node_lost_with_its_gateway", node_id=loss.node_id)
        return len(losses)


@dataclass(frozen=True)
class DutyLoop:
    """Drained nodes go into maintenance; quarantines, maintenance windows and probations of devices begin and end."""

    database: Database
    nodes: NodeService
    name: str = "duties"
    interval_s: float = 2.0
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """One node of each, in a transaction of its own; returns how many changed."""
        changed = 0
        for step in (self.nodes.settle_duties, self.nodes.settle_windows, self.nodes.settle_devices):
            async with self.database.transaction() as session:
                changed += await step(session)
        return changed
