"""Every query on held drains."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, distinct, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.telemetry.models import DeviceEventRow, DrainHoldNodeRow, DrainHoldRow
from gp4u_server.catalyst.telemetry.types import HoldState, Severity

NODES_SHOWN = 50


async def lock_sign(session: AsyncSession, kind: str, code: str) -> None:
    """Let nobody else count who shows this sign until we have written that one more does."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:sign, 0))"), {"sign": f"sign:{kind}:{code}"}
    )


async def nodes_showing(session: AsyncSession, kind: str, code: str, since: datetime) -> int:
    """How many nodes showed a sign critically after `since`."""
    statement = select(func.count(distinct(DeviceEventRow.node_id))).where(
        DeviceEventRow.severity == Severity.CRITICAL,
        DeviceEventRow.kind == kind,
        DeviceEventRow.code == code,
        DeviceEventRow.received_at > since,
    )
    return await session.scalar(statement) or 0


async def newest(session: AsyncSession, kind: str, code: str) -> DrainHoldRow | None:
    """The newest hold of a sign, locked: what is being decided of it is waited for."""
    statement = (
        select(DrainHoldRow)
        .where(DrainHoldRow.kind == kind, DrainHoldRow.code == code)
        .order_by(DrainHoldRow.id.desc())
        .limit(1)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(statement)).one_or_none()


async def one(session: AsyncSession, hold_id: str, *, lock: bool = False) -> DrainHoldRow | None:
    """One hold."""
    statement = select(DrainHoldRow).where(DrainHoldRow.id == hold_id)
    if lock:
        statement = statement.with_for_update(key_share=True)
    return (await session.scalars(statement.execution_options(populate_existing=True))).one_or_none()


async def insert_hold(session: AsyncSession, **values: Any) -> None:
    """Begin one."""
    await session.execute(insert(DrainHoldRow).values(**values))


async def hold_node(session: AsyncSession, **values: Any) -> None:
    """Note an event that drains nothing for now."""
    await session.execute(insert(DrainHoldNodeRow).values(**values))


async def change(session: AsyncSession, hold_id: str, **values: Any) -> None:
    """Change one hold."""
    await session.execute(update(DrainHoldRow).where(DrainHoldRow.id == hold_id).values(**values))


async def quiet(session: AsyncSession, seen_before: datetime) -> DrainHoldRow | None:
    """An undecided hold whose sign was last seen before an instant, locked."""
    statement = (
        select(DrainHoldRow)
        .where(DrainHoldRow.state == HoldState.HELD, DrainHoldRow.last_sign_at <= seen_before)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return (await session.scalars(statement)).one_or_none()


async def due_node(session: AsyncSession) -> Row[DrainHoldNodeRow, str] | None:
    """An event of a decided hold with which that was not done yet, locked, and the hold's state."""
    statement = (
        select(DrainHoldNodeRow, DrainHoldRow.state)
        .join(DrainHoldRow, DrainHoldRow.id == DrainHoldNodeRow.hold_id)
        .where(DrainHoldNodeRow.settled_at.is_(None), DrainHoldRow.state != HoldState.HELD)
        .order_by(DrainHoldNodeRow.event_id)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True, of=DrainHoldNodeRow)
    )
    return (await session.execute(statement)).one_or_none()


async def settle(session: AsyncSession, event_id: str, at: datetime) -> None:
    """What was decided is done with this event."""
    await session.execute(
        update(DrainHoldNodeRow).where(DrainHoldNodeRow.event_id == event_id).values(settled_at=at)
    )


async def watched_for(session: AsyncSession, node_id: str) -> str | None:
    """The newest sign of a node that is held."""
    found: str | None = await session.scalar(
        select(DrainHoldNodeRow.sentence)
        .where(DrainHoldNodeRow.node_id == node_id, DrainHoldNodeRow.settled_at.is_(None))
        .order_by(DrainHoldNodeRow.event_id.desc())
        .limit(1)
    )
    return found


async def page(session: AsyncSession, *, before_id: str | None, limit: int) -> Sequence[DrainHoldRow]:
    """Holds, newest first."""
    statement = select(DrainHoldRow).order_by(DrainHoldRow.id.desc()).limit(limit)
    if before_id is not None:
        statement = statement.where(DrainHoldRow.id < before_id)
    return (await session.scalars(statement)).all()


async def nodes_of(session: AsyncSession, hold_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """The newest events of each of these holds with the names of their nodes, and how many nodes each holds in all."""
    statement = text(
        "SELECT h.id AS hold_id, counted.nodes, shown.node_id, nodes.name AS node_name, shown.device_uuid,"
        " shown.held_at, shown.settled_at FROM drain_holds AS h"
        " CROSS JOIN LATERAL (SELECT count(DISTINCT n.node_id) AS nodes FROM drain_hold_nodes AS n"
        "   WHERE n.hold_id = h.id) AS counted"
        " CROSS JOIN LATERAL (SELECT n.* FROM drain_hold_nodes AS n WHERE n.hold_id = h.id"
        "   ORDER BY n.event_id DESC LIMIT :shown) AS shown"
        " JOIN nodes ON nodes.id = shown.node_id WHERE h.id = ANY(:ids) ORDER BY h.id, shown.event_id DESC"
    )
    return (await session.execute(statement, {"ids": list(hold_ids), "shown": NODES_SHOWN})).all()
