"""Every query on failover's own tables."""

from collections.abc import Sequence

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.failover.models import CapacitySignal


async def signal_capacity(session: AsyncSession, node_id: str) -> None:
    """Note, in the transaction that frees it, that a node has something to give."""
    await session.execute(insert(CapacitySignal).values(node_id=node_id))


async def signal_capacities(session: AsyncSession, node_ids: Sequence[str]) -> None:
    """The same of several nodes."""
    await session.execute(insert(CapacitySignal), [{"node_id": node_id} for node_id in node_ids])


async def take_signals(session: AsyncSession, limit: int) -> set[str]:
    """The nodes of the oldest signals, which are thereby used up; those that somebody else takes are skipped."""
    oldest = (
        select(CapacitySignal.id)
        .order_by(CapacitySignal.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    taken = await session.scalars(
        delete(CapacitySignal).where(CapacitySignal.id.in_(oldest)).returning(CapacitySignal.node_id)
    )
    return set(taken)
