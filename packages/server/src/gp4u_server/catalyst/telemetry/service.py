"""Use cases of telemetry: store readings, record device events and what follows from them, read both."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.telemetry import reading, repository
from gp4u_server.catalyst.telemetry.drain_guard import GuardTerms
from gp4u_server.catalyst.telemetry.events import DeviceFaulted
from gp4u_server.catalyst.telemetry.holds import DrainHolds
from gp4u_server.catalyst.telemetry.planning import Plan, plan
from gp4u_server.catalyst.telemetry.repository import SampleRow
from gp4u_server.catalyst.telemetry.retention import Retention
from gp4u_server.catalyst.telemetry.summing import Resolution
from gp4u_server.catalyst.telemetry.types import DeviceEvent, NodeSnapshot, Series, Severity
from gp4u_server.foundation.events import EventBus
from gp4u_server.kit.clock import Clock
from gp4u_server.nodes.service import NodeService

LATE_AFTER = timedelta(seconds=15)
"""With `STORE_S_MAX` less than the 30 s that summing up stays behind: see `repository.push_back`."""
STORE_S_MAX = 10.0
"""A transaction that stores samples must end within this time; its caller sees to it."""


@dataclass(frozen=True)
class TelemetryService:
    """What gateways write and other modules read."""

    bus: EventBus
    clock: Clock
    nodes: NodeService
    retention: Retention = field(default_factory=Retention)
    guard: GuardTerms = field(default_factory=GuardTerms)

    @property
    def holds(self) -> DrainHolds:
        """What follows from critical events."""
        return DrainHolds(self.bus, self.clock, self.nodes, self.guard)

    async def store(self, session: AsyncSession, rows: Sequence[SampleRow]) -> int:
        """Bring samples in, all by one COPY. Written twice they are stored once. Answers how many were new. The
        transaction must be over within STORE_S_MAX."""
        if not rows:
            return 0
        earliest = min(row.at for row in rows)
        if earliest < self.clock.now() - LATE_AFTER:
            await repository.push_back(session, earliest)
        return await repository.copy_samples(session, rows)

    async def record(self, session: AsyncSession, events: Sequence[DeviceEvent]) -> list[DeviceEvent]:
        """Store events, announce each as `DeviceFaulted`, and take the device of a critical one out of the offer,
        or its node out of service when it has no other, unless too many nodes show it at once (`drain_guard`). Those that are
        stored already are left out; answers the new ones. Locks signs, holds and nodes (in the order of their ids)."""
        await self.holds.lock_signs(session, events)
        recorded = []
        for event in sorted(events, key=lambda each: (each.node_id, each.id)):
            new = await repository.insert_event(
                session,
                id=event.id,
                node_id=event.node_id,
                device_uuid=event.device_uuid,
                kind=event.kind,
                code=event.code,
                severity=event.severity,
                occurred_at=event.occurred_at,
                received_at=event.received_at,
                detail=dict(event.detail),
            )
            if not new:
                continue
            recorded.append(event)
            if event.severity is Severity.CRITICAL:
                await self.holds.follow(session, event)
            await self.bus.publish(
                session,
                DeviceFaulted(
                    node_id=event.node_id,
                    device_uuid=event.device_uuid,
                    kind=event.kind,
                    code=event.code,
                    severity=event.severity,
                    at=event.occurred_at,
                ),
            )
        return recorded

    async def events_of(
        self, session: AsyncSession, node_id: str, since: datetime, until: datetime
    ) -> list[DeviceEvent]:
        """See `reading.events_of`."""
        return await reading.events_of(session, node_id, since, until)

    async def snapshot_of(self, session: AsyncSession, node_id: str, at: datetime) -> NodeSnapshot:
        """See `reading.snapshot_of`."""
        return await reading.snapshot_of(session, node_id, at)

    async def events_page(
        self, session: AsyncSession, node_id: str, *, before_id: str | None, limit: int
    ) -> list[DeviceEvent]:
        """A page of a node's events, the last received first."""
        rows = await repository.events_page(session, node_id, before_id=before_id, limit=limit)
        return [reading.event_of_row(row) for row in rows]

    async def series(
        self,
        session: AsyncSession,
        node_id: str,
        device_uuids: Sequence[str],
        *,
        metrics: frozenset[str] | None,
        since: datetime,
        until: datetime,
        resolution: Resolution | None,
    ) -> tuple[Plan, list[Series]]:
        """Readings in [since, until), and what they were read from (see `planning` and `reading.series_of`)."""
        planned = plan(since, until, resolution, self.clock.now(), self.retention.as_table())
        return planned, await reading.series_of(
            session, node_id, device_uuids, metrics, since, until, planned
        )

    async def baselines(
        self, session: AsyncSession, node_ids: Sequence[str], age: timedelta
    ) -> dict[str, dict[str, dict[str, float]]]:
        """The newest readings of these nodes' devices, if not older than `age`: node → device → metric → value."""
        since = self.clock.now() - age
        return await reading.newest_of_many(session, node_ids, since)
