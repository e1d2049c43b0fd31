"""Every query of routing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.routing.models import RoutingDecisionRow


async def insert_decision(session: AsyncSession, **values: Any) -> None:
    """Store one decision."""
    await session.execute(insert(RoutingDecisionRow).values(**values))


async def decisions_of(session: AsyncSession, job_id: str, limit: int) -> Sequence[RoutingDecisionRow]:
    """The newest decisions of a job."""
    found = await session.scalars(
        select(RoutingDecisionRow)
        .where(RoutingDecisionRow.job_id == job_id)
        .order_by(RoutingDecisionRow.id.desc())
        .limit(limit)
    )
    return found.all()
