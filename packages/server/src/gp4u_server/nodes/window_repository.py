"""Every query on maintenance windows."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.nodes import repository
from gp4u_server.nodes.models import MaintenanceWindowRow as Row
from gp4u_server.nodes.models import NodeRow
from gp4u_server.nodes.types import MaintenanceWindow, WindowState

_STANDING = text("maintenance_windows.state IN ('planned', 'active')")
_READ_MAX = 1000


async def insert_window(session: AsyncSession, window: MaintenanceWindow, now: datetime) -> None:
    """Store one window."""
    await session.execute(
        insert(Row).values(
            id=window.id,
            node_id=window.node_id,
            starts_at=window.starts_at,
            ends_at=window.ends_at,
            reason=window.reason,
            state=window.state,
            created_at=now,
        )
    )


async def change_window(session: AsyncSession, window_id: str, state: WindowState) -> None:
    """Write the state of a window whose node is locked."""
    await session.execute(update(Row).where(Row.id == window_id).values(state=state))


async def window(session: AsyncSession, node_id: str, window_id: str) -> MaintenanceWindow | None:
    """One window of this node, in any state."""
    found = await session.execute(
        select(Row)
        .where(Row.id == window_id, Row.node_id == node_id)
        .execution_options(populate_existing=True)
    )
    row = found.scalar_one_or_none()
    return None if row is None else _view(row)


async def standing(session: AsyncSession, node_ids: Sequence[str]) -> list[MaintenanceWindow]:
    """Planned and active windows of these nodes, the soonest first."""
    statement = (
        select(Row)
        .where(_STANDING, Row.node_id.in_(node_ids))
        .order_by(Row.starts_at)
        .limit(_READ_MAX)
        .execution_options(populate_existing=True)
    )
    return [_view(row) for row in await session.scalars(statement)]


async def planned_before(session: AsyncSession, before: datetime) -> list[MaintenanceWindow]:
    """Planned windows that begin before an instant, the soonest first."""
    statement = (
        select(Row)
        .where(_STANDING, Row.state == WindowState.PLANNED, Row.starts_at < before)
        .order_by(Row.starts_at)
        .limit(_READ_MAX)
        .execution_options(populate_existing=True)
    )
    return [_view(row) for row in await session.scalars(statement)]


async def due_node(session: AsyncSession, now: datetime) -> str | None:
    """A node with a window that should have begun or ended."""
    statement = (
        select(Row.node_id)
        .where(
            _STANDING,
            or_(
                and_(Row.state == WindowState.PLANNED, Row.starts_at <= now),
                and_(Row.state == WindowState.ACTIVE, Row.ends_at <= now),
            ),
        )
        .order_by(Row.starts_at)
        .limit(1)
    )
    found: str | None = await session.scalar(statement)
    return found


async def end_active(session: AsyncSession, node_id: str) -> None:
    """The node is back in service before its window's end."""
    await session.execute(
        update(Row)
        .where(Row.node_id == node_id, Row.state == WindowState.ACTIVE)
        .values(state=WindowState.CANCELLED)
    )


async def lock_node(session: AsyncSession, node_id: str) -> NodeRow | None:
    """The node's row, locked; removed ones too, so that their windows end."""
    standing_row = await repository.node(session, node_id, lock=True)
    if standing_row is not None:
        return standing_row
    return (
        await session.scalars(select(NodeRow).where(NodeRow.id == node_id).with_for_update(key_share=True))
    ).one_or_none()


def _view(row: Row) -> MaintenanceWindow:
    return MaintenanceWindow(
        id=row.id,
        node_id=row.node_id,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        reason=row.reason,
        state=WindowState(row.state),
    )
