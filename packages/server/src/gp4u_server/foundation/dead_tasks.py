"""Background tasks that were given up, kept so that a person can look at them and send them again."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class DeadTaskRow(Base):
    """One task that failed for good, by its message's id."""

    __tablename__ = "dead_tasks"
    id: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    reason: Mapped[str]
    failed_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index(None, "failed_at"),)


async def bury(
    session: AsyncSession, *, task_id: str, task: str, arguments: dict[str, Any], reason: str
) -> None:
    """Keep a task that is not tried again. Harmless when it is kept already."""
    values = {"id": task_id, "task": task, "arguments": arguments, "reason": reason}
    await session.execute(insert(DeadTaskRow).values(**values).on_conflict_do_nothing())
