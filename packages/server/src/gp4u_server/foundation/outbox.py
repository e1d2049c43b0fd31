"""The transactional outbox: a message is a row of the caller's transaction first.

The relay (controller) forwards rows in id order to Valkey for fan-out and marks them sent. Losing Valkey loses no
fact: readers of a stream always re-read PostgreSQL from their last id and use the message only as a wake-up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Identity, Index, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base

NOTIFY_CHANNEL = "gp4u_outbox"


class OutboxRow(Base):
    """One message that waits for the relay, or was relayed at `sent_at`."""

    __tablename__ = "outbox"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    topic: Mapped[str]
    key: Mapped[str]
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_outbox_unsent", "id", postgresql_where=text("sent_at IS NULL")),)


@dataclass(frozen=True)
class PostgresOutbox:
    """Appends to the table and wakes the relay when the transaction commits."""

    async def append(self, session: AsyncSession, topic: str, key: str, payload: dict[str, Any]) -> None:
        """Write one message in the caller's transaction."""
        await session.execute(insert(OutboxRow).values(topic=topic, key=key, payload=payload))
        await session.execute(select_notify())

    async def append_all(
        self, session: AsyncSession, messages: Sequence[tuple[str, str, dict[str, Any]]]
    ) -> None:
        """Write many messages, in this order, as (topic, key, payload)."""
        rows = [{"topic": topic, "key": key, "payload": payload} for topic, key, payload in messages]
        await session.execute(insert(OutboxRow), rows)
        await session.execute(select_notify())


def select_notify() -> Any:
    """`NOTIFY` is delivered at commit, once per transaction and channel however often it is called."""
    return text(f"SELECT pg_notify('{NOTIFY_CHANNEL}', '')")


async def sweep_outbox(session: AsyncSession, *, batch: int) -> int:
    """Delete at most `batch` messages that were relayed over a day ago; answers how many."""
    row = OutboxRow
    a_day_ago = func.now() - text("interval '1 day'")
    # Only the oldest rows are looked at. A search for old ones would read the whole table whenever there are none.
    oldest = select(row.id, row.sent_at).order_by(row.id).limit(batch).cte("oldest")
    old = select(row.id).where(row.id.in_(select(oldest.c.id).where(oldest.c.sent_at < a_day_ago)))
    locked = old.with_for_update(skip_locked=True).cte("locked").prefix_with("MATERIALIZED")
    deleted = await session.execute(delete(row).where(row.id == locked.c.id).returning(row.id))
    return len(deleted.all())
