"""Every query on checkpoints, packs and uploads."""

from collections.abc import Sequence

from sqlalchemy import func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.checkpoints.models import (
    Checkpoint,
    CheckpointPack,
    Fork,
    JobUpload,
    OpenUpload,
    PackRow,
)
from gp4u_server.catalyst.checkpoints.types import Announced


async def next_seq(session: AsyncSession, job_id: str) -> int:
    """The next sequence number of a job; its row is locked by the caller."""
    highest = await session.scalar(select(func.max(OpenUpload.seq)).where(OpenUpload.job_id == job_id))
    return (highest or 0) + 1


async def get_upload(session: AsyncSession, upload_id: str) -> OpenUpload | None:
    """One open or finished upload."""
    return await session.get(OpenUpload, upload_id)


async def packs_of(session: AsyncSession, job_id: str, pack_ids: Sequence[str]) -> dict[str, PackRow]:
    """Those of `pack_ids` that this job announced."""
    rows = await session.scalars(select(PackRow).where(PackRow.job_id == job_id, PackRow.id.in_(pack_ids)))
    return {row.id: row for row in rows}


async def count_packs(session: AsyncSession, upload_id: str) -> int:
    """How many packs an upload announced."""
    counted = await session.scalar(select(func.count()).where(PackRow.upload_id == upload_id))
    return counted or 0


async def announce_packs(
    session: AsyncSession, job_id: str, upload_id: str, packs: Sequence[Announced]
) -> None:
    """Record packs before their first byte."""
    rows = [
        {"job_id": job_id, "id": pack.id, "upload_id": upload_id, "size_bytes": pack.size_bytes}
        for pack in packs
    ]
    if rows:
        await session.execute(insert(PackRow), rows)


async def mark_stored(session: AsyncSession, upload_id: str, pack_ids: Sequence[str]) -> None:
    """These packs belong to a committed checkpoint from now on."""
    await session.execute(
        update(PackRow)
        .where(PackRow.upload_id == upload_id, PackRow.id.in_(pack_ids))
        .values(stored_at=func.now())
    )


async def link_packs(session: AsyncSession, checkpoint_id: str, job_id: str, pack_ids: Sequence[str]) -> None:
    """Record which packs a checkpoint needs. A mark that the collection has put on one of them is void from now on."""
    rows = [{"checkpoint_id": checkpoint_id, "job_id": job_id, "pack_id": pack_id} for pack_id in pack_ids]
    if rows:
        await session.execute(insert(CheckpointPack), rows)
        await session.execute(
            update(PackRow)
            .where(PackRow.job_id == job_id, PackRow.id.in_(pack_ids), PackRow.marked_at.is_not(None))
            .values(marked_at=None)
        )


async def find(session: AsyncSession, job_id: str, checkpoint_id: str) -> Checkpoint | None:
    """One checkpoint of one job."""
    statement = select(Checkpoint).where(Checkpoint.id == checkpoint_id, Checkpoint.job_id == job_id)
    return (await session.scalars(statement)).one_or_none()


async def find_anywhere(session: AsyncSession, checkpoint_id: str) -> Checkpoint | None:
    """One checkpoint, whoever's."""
    return await session.get(Checkpoint, checkpoint_id, populate_existing=True)


async def find_origin(session: AsyncSession, job_id: str) -> Checkpoint | None:
    """The checkpoint that a job was forked from, unless it was released."""
    statement = (
        select(Checkpoint)
        .join(Fork, (Fork.checkpoint_id == Checkpoint.id) & (Fork.origin_job_id == Checkpoint.job_id))
        .where(Fork.job_id == job_id, Fork.released_at.is_(None))
    )
    return (await session.scalars(statement)).one_or_none()


async def count_pinned(session: AsyncSession, job_id: str) -> int:
    """How many checkpoints of a job are pinned."""
    counted = await session.scalar(
        select(func.count()).where(Checkpoint.job_id == job_id, Checkpoint.pinned_at.is_not(None))
    )
    return counted or 0


async def find_numbered(session: AsyncSession, job_id: str, epoch: int, seq: int) -> Checkpoint | None:
    """The checkpoint of a job with these numbers."""
    statement = select(Checkpoint).where(
        Checkpoint.job_id == job_id, Checkpoint.epoch == epoch, Checkpoint.seq == seq
    )
    return (await session.scalars(statement)).one_or_none()


async def size_of(session: AsyncSession, checkpoint_id: str) -> int:
    """Bytes of a checkpoint's files; 0 when there is no such checkpoint."""
    return await session.scalar(select(Checkpoint.size_bytes).where(Checkpoint.id == checkpoint_id)) or 0


async def newest(
    session: AsyncSession, job_id: str, limit: int, before: tuple[int, int] | None = None
) -> Sequence[Checkpoint]:
    """Checkpoints of a job by (epoch, seq), newest first."""
    statement = (
        select(Checkpoint)
        .where(Checkpoint.job_id == job_id)
        .order_by(Checkpoint.epoch.desc(), Checkpoint.seq.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(tuple_(Checkpoint.epoch, Checkpoint.seq) < before)
    return (await session.scalars(statement)).all()


async def pack_ids_of(session: AsyncSession, checkpoint_id: str) -> tuple[str, ...]:
    """The packs that a checkpoint needs."""
    statement = select(CheckpointPack.pack_id).where(CheckpointPack.checkpoint_id == checkpoint_id)
    return tuple((await session.scalars(statement)).all())


async def want_job_upload(
    session: AsyncSession, renter_id: str, blake3: str, size_bytes: int
) -> JobUpload | None:
    """The newest upload of these bytes by this renter, noted as wanted now; None also when it has just been collected."""
    newest = (
        select(JobUpload.id)
        .where(
            JobUpload.renter_id == renter_id, JobUpload.blake3 == blake3, JobUpload.size_bytes == size_bytes
        )
        .order_by(JobUpload.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    statement = (
        update(JobUpload).where(JobUpload.id == newest).values(wanted_at=func.now()).returning(JobUpload)
    )
    return (await session.scalars(statement)).one_or_none()


async def hold_job_upload(session: AsyncSession, upload_id: str) -> JobUpload | None:
    """One upload, whoever's, which nobody collects before this transaction ends."""
    statement = select(JobUpload).where(JobUpload.id == upload_id).with_for_update(read=True, key_share=True)
    return (await session.scalars(statement)).one_or_none()


async def get_job_upload(session: AsyncSession, upload_id: str) -> JobUpload | None:
    """One upload, whoever's."""
    return await session.get(JobUpload, upload_id)
