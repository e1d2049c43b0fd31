"""Every query on devices that failed or are kept for a job."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.nodes.models import DeviceRow
from gp4u_server.nodes.types import FailedDevice, ReservedDevice

_READ_MAX = 1000
_EPOCH = datetime.fromtimestamp(0, UTC)
_IS_RESERVED = text("devices.reserved_for IS NOT NULL")
_HAS_FAILED = text("devices.faulted_at IS NOT NULL")


async def fault(session: AsyncSession, node_id: str, device_uuid: str, reason: str, at: datetime) -> bool:
    """Note a failure, unless the device has failed and is not there again, or the failure is older than its return."""
    noted = await session.execute(
        update(DeviceRow)
        .where(
            DeviceRow.node_id == node_id,
            DeviceRow.uuid == device_uuid,
            DeviceRow.enrolled,
            or_(
                DeviceRow.faulted_at.is_(None),
                DeviceRow.probation_until.is_not(None) & (DeviceRow.faulted_at < at),
            ),
        )
        .values(faulted_at=at, fault_reason=reason, faults=DeviceRow.faults + 1, probation_until=None)
        .returning(DeviceRow.id)
    )
    return noted.first() is not None


async def fault_absent(
    session: AsyncSession, node_id: str, present_uuids: Sequence[str], reason: str, at: datetime
) -> int:
    """Note the failure of enrolled devices that the machine lists no more. Answers how many that is news of."""
    noted = await session.execute(
        update(DeviceRow)
        .where(
            DeviceRow.node_id == node_id,
            DeviceRow.enrolled,
            DeviceRow.uuid.not_in(present_uuids),
            or_(DeviceRow.faulted_at.is_(None), DeviceRow.probation_until.is_not(None)),
        )
        .values(faulted_at=at, fault_reason=reason, faults=DeviceRow.faults + 1, probation_until=None)
        .returning(DeviceRow.id)
    )
    return len(noted.all())


async def failed_of(session: AsyncSession, node_ids: Sequence[str]) -> list[FailedDevice]:
    """Failed devices of these nodes, in the machine's own order."""
    statement = (
        select(DeviceRow)
        .where(_HAS_FAILED, DeviceRow.enrolled, DeviceRow.node_id.in_(node_ids))
        .order_by(DeviceRow.node_id, DeviceRow.position)
        .execution_options(populate_existing=True)
    )
    return [_failed(row) for row in await session.scalars(statement)]


async def failed_in_use(session: AsyncSession) -> list[FailedDevice]:
    """Failed devices that are taken."""
    statement = (
        select(DeviceRow)
        .where(_HAS_FAILED, DeviceRow.taken_as.is_not(None))
        .order_by(DeviceRow.node_id, DeviceRow.position)
        .limit(_READ_MAX)
        .execution_options(populate_existing=True)
    )
    return [_failed(row) for row in await session.scalars(statement)]


async def begin_probation(session: AsyncSession, device_id: str, until: datetime) -> None:
    """The device is there again."""
    await session.execute(update(DeviceRow).where(DeviceRow.id == device_id).values(probation_until=until))


async def due_node(session: AsyncSession, now: datetime) -> str | None:
    """A node with a probation that is passed or a reservation that nobody used in time."""
    statement = (
        select(DeviceRow.node_id)
        .where(
            or_(
                _HAS_FAILED & (DeviceRow.probation_until <= now),
                _IS_RESERVED & (DeviceRow.reserved_until <= now),
            )
        )
        .order_by(DeviceRow.node_id)
        .limit(1)
    )
    found: str | None = await session.scalar(statement)
    return found


async def end_probations(session: AsyncSession, node_id: str, now: datetime) -> None:
    """Devices of this node that behaved are as good as any; how often they failed is kept."""
    await session.execute(
        update(DeviceRow)
        .where(DeviceRow.node_id == node_id, DeviceRow.probation_until <= now)
        .values(faulted_at=None, fault_reason=None, probation_until=None)
    )


async def forgive(session: AsyncSession, node_id: str) -> bool:
    """Failed devices of this node that the machine lists are good again. Answers whether there was one."""
    mended = await session.execute(
        update(DeviceRow)
        .where(DeviceRow.node_id == node_id, DeviceRow.faulted_at.is_not(None), DeviceRow.present)
        .values(faulted_at=None, fault_reason=None, probation_until=None)
        .returning(DeviceRow.id)
    )
    return bool(mended.all())


async def reserve(
    session: AsyncSession, node_id: str, device_uuids: Sequence[str], job_id: str, until: datetime
) -> int:
    """Keep devices for a job; answers how many could be."""
    kept = await session.execute(
        update(DeviceRow)
        .where(
            DeviceRow.node_id == node_id,
            DeviceRow.uuid.in_(device_uuids),
            DeviceRow.present,
            DeviceRow.faulted_at.is_(None),
            or_(DeviceRow.reserved_for.is_(None), DeviceRow.reserved_for == job_id),
        )
        .values(reserved_for=job_id, reserved_until=until)
        .returning(DeviceRow.id)
    )
    return len(kept.all())


async def reserved(
    session: AsyncSession, *, job_id: str | None = None, node_id: str | None = None
) -> list[ReservedDevice]:
    """Kept devices: of one job, on one node, or all."""
    statement = select(DeviceRow).where(_IS_RESERVED).order_by(DeviceRow.node_id, DeviceRow.position)
    if job_id is not None:
        statement = statement.where(DeviceRow.reserved_for == job_id)
    if node_id is not None:
        statement = statement.where(DeviceRow.node_id == node_id)
    rows = await session.scalars(statement.limit(_READ_MAX).execution_options(populate_existing=True))
    return [
        ReservedDevice(
            node_id=row.node_id,
            uuid=row.uuid,
            job_id=row.reserved_for or "",
            until=row.reserved_until or _EPOCH,
            in_use=row.taken_as is not None,
        )
        for row in rows
    ]


async def release_reservations(session: AsyncSession, job_id: str) -> None:
    """Nothing is kept for this job any more."""
    await session.execute(
        update(DeviceRow)
        .where(DeviceRow.reserved_for == job_id)
        .values(reserved_for=None, reserved_until=None)
    )


async def end_reservations(session: AsyncSession, node_id: str, now: datetime) -> None:
    """Those of this node that nobody used in time."""
    await session.execute(
        update(DeviceRow)
        .where(DeviceRow.node_id == node_id, DeviceRow.reserved_until <= now)
        .values(reserved_for=None, reserved_until=None)
    )


def _failed(row: DeviceRow) -> FailedDevice:
    return FailedDevice(
        id=row.id,
        node_id=row.node_id,
        uuid=row.uuid,
        reason=row.fault_reason or "It failed.",
        faults=row.faults,
        back_at=row.probation_until,
    )
