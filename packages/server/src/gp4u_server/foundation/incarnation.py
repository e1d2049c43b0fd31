"""Which life of the database this is: noticing that it was put back from a backup, whoever forgot to say so (H25).

A database from a backup has forgotten the epochs that it gave out after it, and would give them out again. So every epoch
after a restore lies above `STRIDE` times the number of restores. That a restore happened is seen by a *mark*: a number that
controllers raise every few seconds, in the database first and then in the object store, which is no part of the
database's backup. A store that knows a higher mark has seen a later life of this database. See docs/design/leases.md.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, Self

from sqlalchemy import CheckConstraint, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base

STRIDE = 1_000_000
"""More moves than a job can make between two restores: one a second for eleven days."""


class IncarnationRow(Base):
    """The only row."""

    __tablename__ = "incarnation"
    single: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    mark: Mapped[int] = mapped_column(server_default="0")
    restores: Mapped[int] = mapped_column(server_default="0")
    restored_at: Mapped[datetime | None]
    found_by: Mapped[str | None]

    __table_args__ = (CheckConstraint("single", name="one_row"),)


class FoundBy(StrEnum):
    """Who noticed that the database was put back."""

    STORE = "store"  # the object store knows a higher mark
    MEMORY = "memory"  # a controller that went on running does
    OPERATOR = "operator"  # `gp4u admin after-restore`


MARK_KEY = "incarnation/mark"
MARK_BYTES_MAX = 200


class MarkStore(Protocol):
    """What is needed of the object store. Both raise a DomainError of the kind UNAVAILABLE when it does not answer."""

    async def read(self, key: str, *, bytes_max: int) -> bytes | None:
        """A small object; None when there is none."""
        ...

    async def overwrite(self, key: str, content: bytes) -> None:
        """Store a small object, whatever was there before."""
        ...


@dataclass(frozen=True, order=True)
class Mark:
    """How far a life of the database has come. Compared as (restores, mark)."""

    restores: int = 0
    mark: int = 0

    @property
    def epoch_base(self) -> int:
        """Epochs that are given out from now on lie above it."""
        return self.restores * STRIDE

    def written(self) -> bytes:
        """As it stands in the store."""
        return json.dumps({"restores": self.restores, "mark": self.mark}).encode()

    @classmethod
    def read(cls, content: bytes | None) -> Self:
        """What the store says; none, or something that we never wrote, says nothing."""
        try:
            found = json.loads(content or b"{}")
            return cls(int(found["restores"]), int(found["mark"]))
        except (ValueError, KeyError, TypeError):
            return cls()


def next_mark(ours: Mark, seen: Mark) -> tuple[Mark, bool]:
    """The database's next mark, and whether it was put back: somebody has seen a later one than its own.

    Neither restores nor marks of the life that was forgotten are used again.
    """
    if seen > ours:
        return Mark(max(seen.restores, ours.restores) + 1, max(seen.mark, ours.mark) + 1), True
    return Mark(ours.restores, ours.mark + 1), False


async def epoch_base(session: AsyncSession) -> int:
    """See `Mark.epoch_base`; in the caller's transaction, so that a restore counts from its very commit."""
    restores = await session.scalar(select(IncarnationRow.restores))
    return Mark(restores=restores or 0).epoch_base


async def current(session: AsyncSession, *, lock: bool = False) -> Mark:
    """What the database says of itself."""
    statement = select(IncarnationRow.restores, IncarnationRow.mark)
    row = (await session.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return Mark() if row is None else Mark(row.restores, row.mark)


async def advance(session: AsyncSession, seen: Mark, found_by: FoundBy) -> tuple[Mark, bool]:
    """Raise the mark; see `next_mark`. Locks the row, which is the last that this transaction locks."""
    mark, restored = next_mark(await current(session, lock=True), seen)
    await _write(session, mark, found_by if restored else None)
    return mark, restored


async def restored(session: AsyncSession, found_by: FoundBy) -> Mark:
    """Note a restore that somebody knows of without a mark."""
    ours = await current(session, lock=True)
    mark = Mark(ours.restores + 1, ours.mark + 1)
    await _write(session, mark, found_by)
    return mark


async def _write(session: AsyncSession, mark: Mark, found_by: FoundBy | None) -> None:
    values: dict[str, object] = {"mark": mark.mark, "restores": mark.restores}
    if found_by is not None:
        values |= {"restored_at": func.now(), "found_by": found_by}
    await session.execute(
        insert(IncarnationRow)
        .values(single=True)
        .on_conflict_do_update(index_elements=["single"], set_=values)
    )
