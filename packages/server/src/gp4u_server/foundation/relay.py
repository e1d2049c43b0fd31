"""The outbox relay: forwards committed messages to Valkey in id order and marks them sent."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select, text, update

from gp4u_server.foundation.outbox import NOTIFY_CHANNEL, OutboxRow
from gp4u_server.foundation.streams import Streams
from gp4u_server.kit.db import Database

RELAY_BATCH = 500
KEEP_SENT_S = 86_400
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
        old = (
            select(OutboxRow.id)
            .where(
                OutboxRow.sent_at
                < text("clock_timestamp() - make_interval(secs => :keep)").bindparams(keep=KEEP_SENT_S)
            )
            .order_by(OutboxRow.id)
            .limit(PRUNE_BATCH)
        )
        async with self.database.transaction() as session:
            gone = await session.execute(
                delete(OutboxRow).where(OutboxRow.id.in_(old)).returning(OutboxRow.id)
            )
            return len(gone.all())
