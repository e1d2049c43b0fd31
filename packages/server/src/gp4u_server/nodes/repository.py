"""Every query of nodes."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from gp4u_protocol.messages import DeviceFacts
from sqlalchemy import Integer, Row, and_, case, cast, distinct, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.nodes.models import DeviceRow, EnrolmentTokenRow, GatewayRow, NodeRow
from gp4u_server.nodes.types import Liveness, NodeStatus, TakenDevice

STANDING = NodeRow.status != NodeStatus.REMOVED
DESIRED_CHANNEL = "gp4u_node_desired"
MISSED_FOR = timedelta(days=7)
"""A device that the machine lists no more is shown for this long; after that its owner has taken it out."""
HEARD_GAP_MAX = timedelta(seconds=5)
"""A gateway says every 2 s that it lives. After a longer pause it, or the database, was away."""


async def insert_token(session: AsyncSession, **values: Any) -> None:
    """Store one permission to join."""
    await session.execute(insert(EnrolmentTokenRow).values(**values))


async def consume_token(session: AsyncSession, token_hash: bytes, now: datetime) -> EnrolmentTokenRow | None:
    """Use the token up, if it is unused and alive. Of any number of callers one gets it (H21)."""
    found = await session.execute(
        update(EnrolmentTokenRow)
        .where(
            EnrolmentTokenRow.token_hash == token_hash,
            EnrolmentTokenRow.used_at.is_(None),
            EnrolmentTokenRow.expires_at > now,
        )
        .values(used_at=now)
        .returning(EnrolmentTokenRow)
    )
    return found.scalar_one_or_none()


async def insert_node(session: AsyncSession, **values: Any) -> None:
    """Store one node."""
    await session.execute(insert(NodeRow).values(**values))


async def names_like(session: AsyncSession, stem: str) -> set[str]:
    """Names of standing nodes that begin with `stem`."""
    found = await session.scalars(
        select(NodeRow.name).where(STANDING, NodeRow.name.startswith(stem, autoescape=True)).limit(10_000)
    )
    return set(found)


async def key_is_used(session: AsyncSession, public_key: bytes) -> bool:
    """Whether a standing node has this key."""
    found = await session.scalar(select(NodeRow.id).where(STANDING, NodeRow.public_key == public_key))
    return found is not None


async def name_is_used(session: AsyncSession, name: str) -> bool:
    """Whether a standing node has this name."""
    return await session.scalar(select(NodeRow.id).where(STANDING, NodeRow.name == name)) is not None


async def node(
    session: AsyncSession, node_id: str, *, owner_id: str | None = None, lock: bool = False
) -> NodeRow | None:
    """One node that is not removed; of `owner_id` alone when given; locked when asked."""
    query = select(NodeRow).where(NodeRow.id == node_id, STANDING)
    if owner_id is not None:
        query = query.where(NodeRow.owner_id == owner_id)
    if lock:
        query = query.with_for_update(key_share=True)
    found = await session.execute(query.execution_options(populate_existing=True))
    return found.scalar_one_or_none()


async def lock_any(session: AsyncSession, node_id: str) -> NodeRow | None:
    """One node, locked, also a removed one."""
    query = select(NodeRow).where(NodeRow.id == node_id).with_for_update(key_share=True)
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def any_nodes(session: AsyncSession, node_ids: Sequence[str]) -> Sequence[NodeRow]:
    """These nodes, removed ones too."""
    return (await session.scalars(select(NodeRow).where(NodeRow.id.in_(node_ids)))).all()


async def main_models(session: AsyncSession, node_ids: Sequence[str]) -> dict[str, str]:
    """The model that each node has most cards of; the first by name on a tie."""
    counted = (
        select(DeviceRow.node_id, DeviceRow.model)
        .where(DeviceRow.node_id.in_(node_ids))
        .group_by(DeviceRow.node_id, DeviceRow.model)
        .ext(distinct_on(DeviceRow.node_id))
        .order_by(DeviceRow.node_id, func.count().desc(), DeviceRow.model)
    )
    return {row.node_id: row.model for row in await session.execute(counted)}


async def identity(session: AsyncSession, node_id: str) -> Row[bytes, str] | None:
    """Public key and status, removed nodes included."""
    found = await session.execute(select(NodeRow.public_key, NodeRow.status).where(NodeRow.id == node_id))
    return found.one_or_none()


async def identities(session: AsyncSession, node_ids: Sequence[str]) -> Sequence[Row[str, bytes, str]]:
    """Ids, public keys and status, removed nodes included."""
    found = await session.execute(
        select(NodeRow.id, NodeRow.public_key, NodeRow.status).where(NodeRow.id.in_(node_ids))
    )
    return found.all()


async def transparent_facts(session: AsyncSession, node_ids: Collection[str]) -> dict[str, Any]:
    """What nodes told of whole-job checkpoints; those that told nothing are missing."""
    told = NodeRow.facts["transparent"]
    found = await session.execute(select(NodeRow.id, told).where(NodeRow.id.in_(node_ids)))
    return {node_id: facts for node_id, facts in found if facts}


async def owned_nodes(
    session: AsyncSession, owner_id: str, *, before_id: str | None, limit: int
) -> Sequence[NodeRow]:
    """A page of an owner's nodes, newest first."""
    query = select(NodeRow).where(NodeRow.owner_id == owner_id, STANDING)
    if before_id is not None:
        query = query.where(NodeRow.id < before_id)
    return (await session.scalars(query.order_by(NodeRow.id.desc()).limit(limit))).all()


async def change_node(session: AsyncSession, node_id: str, **values: Any) -> None:
    """Write columns of a node whose row the caller has locked."""
    await session.execute(update(NodeRow).where(NodeRow.id == node_id).values(**values))


async def lease_ttl_ms(session: AsyncSession, node_id: str) -> int:
    """How long the longest lease of this node may last."""
    return int(await session.scalar(select(NodeRow.lease_ttl_ms).where(NodeRow.id == node_id)) or 0)


async def note_lease_ttl(
    session: AsyncSession, node_id: str, session_no: int, ttl_ms: int, why: str | None
) -> bool:
    """Write it, if that is still the node's session."""
    written = await session.scalar(
        update(NodeRow)
        .where(NodeRow.id == node_id, NodeRow.session_no == session_no)
        .values(lease_ttl_ms=ttl_ms, lease_ttl_why=why)
        .returning(NodeRow.id)
    )
    return written is not None


async def longest_lease_ttls(session: AsyncSession, longer_than_ms: int) -> dict[str, int]:
    """Gateway → the longest of its nodes' leases, where it is longer than that."""
    rows = await session.execute(
        select(NodeRow.gateway_id, func.max(NodeRow.lease_ttl_ms))
        .where(NodeRow.lease_ttl_ms > longer_than_ms, NodeRow.gateway_id.is_not(None))
        .group_by(NodeRow.gateway_id)
    )
    return {str(gateway_id): int(ttl_ms) for gateway_id, ttl_ms in rows}


async def bump_desired(session: AsyncSession, node_id: str) -> int:
    """The next version of the node's desired state; wakes its gateway at commit."""
    version = await session.scalar(
        update(NodeRow)
        .where(NodeRow.id == node_id)
        .values(desired_version=NodeRow.desired_version + 1)
        .returning(NodeRow.desired_version)
    )
    await session.execute(
        text("SELECT pg_notify(:channel, :id)"), {"channel": DESIRED_CHANNEL, "id": node_id}
    )
    return int(version or 0)


async def desired_version(session: AsyncSession, node_id: str) -> int:
    """The current version of the node's desired state."""
    return int(await session.scalar(select(NodeRow.desired_version).where(NodeRow.id == node_id)) or 0)


async def live_sessions(session: AsyncSession, gateway_id: str) -> Sequence[NodeRow]:
    """Nodes that this gateway holds, as the database knows it."""
    found = await session.scalars(
        select(NodeRow)
        .where(
            NodeRow.gateway_id == gateway_id,
            NodeRow.liveness.in_([Liveness.ONLINE, Liveness.SUSPECT]),
        )
        .order_by(NodeRow.id)
    )
    return found.all()


async def orphaned_sessions(session: AsyncSession, silent_since: datetime, limit: int) -> Sequence[NodeRow]:
    """Nodes called alive whose gateway has said nothing since `silent_since` (or was never known)."""
    found = await session.scalars(
        select(NodeRow)
        .outerjoin(GatewayRow, GatewayRow.id == NodeRow.gateway_id)
        .where(
            NodeRow.liveness.in_([Liveness.ONLINE, Liveness.SUSPECT]),
            func.coalesce(GatewayRow.seen_at, NodeRow.last_seen_at, NodeRow.enrolled_at) < silent_since,
        )
        .order_by(NodeRow.id)
        .limit(limit)
    )
    return found.all()


async def see_gateway(session: AsyncSession, gateway_id: str, now: datetime) -> None:
    """The gateway lives."""
    broken = GatewayRow.seen_at < now - HEARD_GAP_MAX
    await session.execute(
        pg_insert(GatewayRow)
        .values(id=gateway_id, started_at=now, seen_at=now, unbroken_since=now)
        .on_conflict_do_update(
            index_elements=[GatewayRow.id],
            set_={"seen_at": now, "unbroken_since": case((broken, now), else_=GatewayRow.unbroken_since)},
        )
    )


async def devices_of(session: AsyncSession, node_ids: Sequence[str]) -> Sequence[DeviceRow]:
    """Devices of these nodes, in the machine's own order: those that are there, and those that failed lately."""
    missed = DeviceRow.enrolled & (DeviceRow.faulted_at > func.now() - MISSED_FOR)
    found = await session.scalars(
        select(DeviceRow)
        .where(DeviceRow.node_id.in_(node_ids), or_(DeviceRow.present, missed))
        .order_by(DeviceRow.node_id, DeviceRow.position)
        .execution_options(populate_existing=True)
    )
    return found.all()


async def upsert_device(
    session: AsyncSession, device_id: str, node_id: str, facts: DeviceFacts, *, model: str, position: int
) -> bool:
    """Enrol a device or bring its row up to date. False: its UUID is enrolled in another node."""
    values = {"model": model, "vram_mb": facts.vram_mb, "simulated": facts.simulated, "position": position}
    found = await session.scalar(
        pg_insert(DeviceRow)
        .values(id=device_id, node_id=node_id, uuid=facts.uuid, present=True, enrolled=True, **values)
        .on_conflict_do_update(
            index_elements=[DeviceRow.uuid],
            index_where=text("enrolled"),
            set_={**values, "present": True},
            where=DeviceRow.node_id == node_id,
        )
        .returning(DeviceRow.id)
    )
    return found is not None


async def mark_absent(session: AsyncSession, node_id: str, present_uuids: Sequence[str]) -> None:
    """Devices of the node that it no longer names."""
    await session.execute(
        update(DeviceRow)
        .where(DeviceRow.node_id == node_id, DeviceRow.uuid.not_in(present_uuids))
        .values(present=False)
    )


async def disenrol_devices(session: AsyncSession, node_id: str) -> None:
    """The node is gone: its cards may be enrolled elsewhere."""
    await session.execute(
        update(DeviceRow).where(DeviceRow.node_id == node_id).values(present=False, enrolled=False)
    )


async def take_devices(
    session: AsyncSession, node_id: str, *, model: str, gpus: int, taken_as: str
) -> list[TakenDevice]:
    """Mark up to `gpus` free devices as taken; fewer come back when fewer are free."""
    free = (
        select(DeviceRow.id)
        .where(
            DeviceRow.node_id == node_id,
            DeviceRow.model == model,
            DeviceRow.present,
            DeviceRow.taken_as.is_(None),
            DeviceRow.reserved_for.is_(None),
            DeviceRow.faulted_at.is_(None),
        )
        .order_by(DeviceRow.position)
        .limit(gpus)
        .with_for_update(key_share=True, skip_locked=True)
        .cte("free")
    )
    taken = await session.execute(
        update(DeviceRow)
        .where(DeviceRow.id == free.c.id)
        .values(taken_as=taken_as)
        .returning(DeviceRow.id, DeviceRow.uuid, DeviceRow.position)
    )
    return [TakenDevice(row.id, row.uuid) for row in sorted(taken, key=lambda row: row.position)]


async def release_devices(session: AsyncSession, node_id: str, device_ids: Sequence[str]) -> int:
    """Free devices; answers how many were taken until now."""
    freed = await session.execute(
        update(DeviceRow)
        .where(
            DeviceRow.node_id == node_id,
            DeviceRow.id.in_(device_ids),
            DeviceRow.taken_as.is_not(None),
        )
        .values(taken_as=None)
        .returning(DeviceRow.id)
    )
    return len(freed.all())


async def running_jobs(session: AsyncSession, node_ids: Sequence[str]) -> dict[str, int]:
    """How many takings hold devices of each node: one for each booking, so one for each job."""
    found = await session.execute(
        select(DeviceRow.node_id, cast(func.count(distinct(DeviceRow.taken_as)), Integer))
        .where(and_(DeviceRow.node_id.in_(node_ids), DeviceRow.taken_as.is_not(None)))
        .group_by(DeviceRow.node_id)
    )
    return {row[0]: row[1] for row in found}
