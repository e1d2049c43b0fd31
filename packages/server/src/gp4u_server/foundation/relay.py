"""The outbox relay: forwards committed messages to Valkey in id order and marks them sent."""

from dataclasses import dataclass

from sqlalchemy import func, select, update

from gp4u_server.foundation.outbox import NOTIFY_CHANNEL, OutboxRow, sweep_outbox
from gp4u_server.foundation.streams import Streams
from gp4u_server.kit.db import Database

RELAY_BATCH = 500
PRUNE_BATCH = 5_000


@dataclass(frozen=True)
class OutboxRelay:
    """A control loop. Several may run: a message sent twice only wakes somebody twice."""

    database: Database
    streams: Streams
    name: str = "outbox_relay"
    interval_s: float = 1.0
    channels: tuple[str, ...] = (NOTIFY_CHANNEL,)

    async def run_once(self) -> int:
        """Forward one batch; returns how many. Unsent ones stay while Valkey is away."""
        async with self.database.transaction() as session:
            statement = (
                select(OutboxRow.id, OutboxRow.topic, OutboxRow.key, OutboxRow.payload)
                .where(OutboxRow.sent_at.is_(None))
                .order_by(OutboxRow.id)
                .limit(RELAY_BATCH)
            )
            rows = (await session.execute(statement)).all()
        if not rows:
            return 0
        if not await self.streams.wake(
            [(row.key, {"id": row.id, "topic": row.topic, "payload": row.payload}) for row in rows]
        ):
            return 0
        async with self.database.transaction() as session:
            await session.execute(
                update(OutboxRow)
                .where(OutboxRow.id.in_([row.id for row in rows]))
                .values(sent_at=func.clock_timestamp())
            )
        return len(rows)


@dataclass(frozen=True)
class OutboxPruning:
    """A control loop: sent messages are kept a day for those who want to look, then they go."""

    database: Database
    name: str = "outbox_pruning"
    interval_s: float = 60.0
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """Delete one batch; returns how many."""
        async with self.database.transaction() as session:
            return await sweep_outbox(session, batch=PRUNE_BATCH)
