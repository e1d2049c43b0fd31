"""Every query about duty and losses of nodes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, exists, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.nodes.models import DeviceRow, NodeLossRow, NodeRow
from gp4u_server.nodes.repository import STANDING
from gp4u_server.nodes.types import Duty, Liveness, NodeStatus

_LOSSES_READ_MAX = 100


async def draining(session: AsyncSession) -> Sequence[NodeRow]:
    """Standing nodes that are being drained."""
    statement = select(NodeRow).where(NodeRow.duty == Duty.DRAINING, STANDING).order_by(NodeRow.id)
    return (await session.scalars(statement)).all()


async def count_serving(session: AsyncSession) -> int:
    """Verified nodes that are online or suspect."""
    statement = select(func.count()).where(
        NodeRow.status == NodeStatus.VERIFIED,
        NodeRow.liveness.in_((Liveness.ONLINE, Liveness.SUSPECT)),
    )
    return await session.scalar(statement) or 0


async def due(session: AsyncSession, now: datetime) -> NodeRow | None:
    """One node, locked, that is drained and not in maintenance yet, or whose quarantine is over."""
    in_use = exists().where(DeviceRow.node_id == NodeRow.id, DeviceRow.taken_as.is_not(None))
    statement = (
        select(NodeRow)
        .where(
            NodeRow.duty != Duty.IN_SERVICE,
            STANDING,
            or_(
                and_(NodeRow.duty == Duty.DRAINING, ~in_use),
                and_(NodeRow.duty == Duty.QUARANTINED, NodeRow.quarantined_until <= now),
            ),
        )
        .order_by(NodeRow.id)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(statement)).one_or_none()


async def insert_loss(session: AsyncSession, **values: Any) -> None:
    """Store one loss."""
    await session.execute(insert(NodeLossRow).values(**values))


async def losses_since(session: AsyncSession, node_id: str, since: datetime) -> list[datetime]:
    """When the node was lost by its own doing, newest first."""
    statement = (
        select(NodeLossRow.at)
        .where(NodeLossRow.node_id == node_id, NodeLossRow.at > since, ~NodeLossRow.ours)
        .order_by(NodeLossRow.at.desc())
        .limit(_LOSSES_READ_MAX)
    )
    return list((await session.scalars(statement)).all())
