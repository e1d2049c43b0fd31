"""Turns: what every controller would do alike is done by one of them at a time.

A turn is a row with an end. Whoever finds it over takes it; nobody prolongs his own, so that one who cannot do the work (his
link to Valkey is cut, say) keeps it from the others for `TURN_S` and no longer. Turns save work and guarantee nothing: one who
was paused may go on for a moment beside the next, and what is done in turns must bear that. What must be done once is
guarded where it is written (claims, row locks, conditional updates).
"""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Base, Database
from gp4u_server.kit.ids import new_id

TURN_S = 5.0


class TurnRow(Base):
    """Who does one kind of work, and until when, by the database's clock."""

    __tablename__ = "turns"
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    held_until: Mapped[datetime]


@dataclass
class Turns:
    """One process's view. Asks the database at most once a turn and name."""

    database: Database
    clock: Clock
    turn_s: float = TURN_S
    holder: str = field(default_factory=lambda: new_id("trn"))
    # Name → whether it is ours, and until when that was true on our own clock.
    _known: dict[str, tuple[bool, float]] = field(default_factory=dict)

    async def is_mine(self, name: str) -> bool:
        """Whether this process should do the work now."""
        now = self.clock.monotonic_s()
        mine, until = self._known.get(name, (False, float("-inf")))
        if now >= until:
            mine, left_s = await self._ask(name)
            until = now + left_s  # counted from before the question: never longer than the row says
            self._known[name] = mine, until
        return mine

    async def _ask(self, name: str) -> tuple[bool, float]:
        async with self.database.transaction() as session:
            row = (
                await session.execute(
                    text(
                        "SELECT holder, extract(epoch FROM held_until - clock_timestamp()) AS left_s FROM turns"
                        " WHERE name = :name"
                    ),
                    {"name": name},
                )
            ).one_or_none()
            if row is not None and row.left_s > 0:  # nothing is locked to learn that
                return row.holder == self.holder, float(row.left_s)
            taken = await session.scalar(
                text(
                    "INSERT INTO turns AS t (name, holder, held_until)"
                    " VALUES (:name, :holder, clock_timestamp() + make_interval(secs => :turn))"
                    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until"
                    " WHERE t.held_until <= clock_timestamp() RETURNING t.holder"
                ),
                {"name": name, "holder": self.holder, "turn": self.turn_s},
            )
        return taken is not None, self.turn_s
