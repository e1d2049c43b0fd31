"""Claims: a worker's short, fenced right to process a row.

    claims = Claims(JobRow.__table__)                       # a table with id, claim_token, claimed_until
    async with database.transaction() as session:
        mine = await claims.take(session, due=..., order_by=..., limit=20, ttl_s=30)
    for claim in mine:
        result = await act(claim.row_id)                     # no transaction is open here
        async with database.transaction() as session:
            if await claims.finish(session, claim, next_attempt_at=...):
                ...                                          # still ours: apply the rest in this transaction

Whoever was too slow finds its token gone: `finish` answers False and nothing it learned is written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Table, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.kit.ids import new_id


@dataclass(frozen=True)
class Claim:
    """The right to process one row until its time is over or somebody applies it."""

    row_id: str
    token: str


def _new_token() -> str:
    return new_id("clm")


@dataclass(frozen=True)
class Claims:
    """Claims on the rows of one table with the columns `id`, `claim_token`, `claimed_until`.

    Time is the database's, so workers with wrong clocks agree on when a claim ends.
    """

    table: Table | FromClause
    token: Callable[[], str] = _new_token

    async def take(
        self,
        session: AsyncSession,
        *,
        due: ColumnElement[bool],
        order_by: ColumnElement[Any],
        limit: int,
        ttl_s: float,
    ) -> Sequence[Claim]:
        """Claim at most `limit` unclaimed rows that are `due`. Rows that others are claiming now are passed over."""
        columns = self.table.c
        free = or_(columns.claimed_until.is_(None), columns.claimed_until <= func.now())
        chosen = (
            select(columns.id)
            .where(and_(due, free))
            .order_by(order_by)
            .limit(limit)
            .with_for_update(skip_locked=True, key_share=True)
            .cte("chosen")
            # Materialised, because a planner that ran it twice would claim more than the limit.
            .prefix_with("MATERIALIZED")
        )
        token = self.token()
        claimed = await session.execute(
            update(_as_table(self.table))
            .where(columns.id == chosen.c.id)
            .values(claim_token=token, claimed_until=func.now() + timedelta(seconds=ttl_s))
            .returning(columns.id)
        )
        return [Claim(row_id, token) for row_id in claimed.scalars()]

    async def finish(self, session: AsyncSession, claim: Claim, **values: Any) -> bool:
        """Give the claim back and set `values`, if the claim is still ours; False means stale: discard the result."""
        columns = self.table.c
        finished = await session.execute(
            update(_as_table(self.table))
            .where(columns.id == claim.row_id, columns.claim_token == claim.token)
            .values(claim_token=None, claimed_until=None, **values)
            .returning(columns.id)
        )
        return finished.scalar_one_or_none() is not None


def _as_table(table: Table | FromClause) -> Table:
    assert isinstance(table, Table)
    return table
