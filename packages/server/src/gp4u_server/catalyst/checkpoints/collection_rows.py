"""Every query of the collection: what may go, what went, and the objects that follow it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.checkpoints.models import (
    Checkpoint,
    CheckpointPack,
    Collection,
    Deletion,
    Fork,
    JobUpload,
    OpenUpload,
    PackRow,
)
from gp4u_server.catalyst.checkpoints.retention import PackFacts, Point, UploadFacts
from gp4u_server.catalyst.checkpoints.types import Condemned
from gp4u_server.foundation.claims import Claim
from gp4u_server.kit.ids import new_id


async def now(session: AsyncSession) -> datetime:
    """The database's clock: all deadlines of the collection are on it."""
    found: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return found


# --- jobs to look through -------------------------------------------------------------------------------


async def enrol(session: AsyncSession, job_id: str) -> None:
    """Have the job looked through from now on."""
    statement = insert(Collection).values(id=job_id, next_at=func.now()).on_conflict_do_nothing()
    await session.execute(statement)


async def look_again(session: AsyncSession, job_id: str) -> None:
    """Have the job looked through soon: something of it is wanted less than before."""
    await session.execute(update(Collection).where(Collection.id == job_id).values(next_at=func.now()))


async def enrolled(session: AsyncSession, after: str, limit: int) -> Sequence[str]:
    """Ids of jobs that are looked through, in order."""
    statement = select(Collection.id).where(Collection.id > after).order_by(Collection.id).limit(limit)
    return (await session.scalars(statement)).all()


async def still_claimed(session: AsyncSession, claim: Claim) -> bool:
    """Whether the claim still holds; if so nobody else gets it before this transaction ends."""
    statement = (
        select(Collection.id)
        .where(Collection.id == claim.row_id, Collection.claim_token == claim.token)
        .with_for_update()
    )
    return (await session.scalars(statement)).one_or_none() is not None


async def forget(session: AsyncSession, job_id: str) -> None:
    """The job has ended and nothing of it is left: its bookkeeping goes."""
    await session.execute(delete(Deletion).where(Deletion.job_id == job_id))
    await session.execute(delete(OpenUpload).where(OpenUpload.job_id == job_id))
    await session.execute(delete(Collection).where(Collection.id == job_id))


async def is_empty(session: AsyncSession, job_id: str) -> bool:
    """Whether the job has no checkpoint, no pack and no object on its way out."""
    anything = select(
        exists().where(Checkpoint.job_id == job_id)
        | exists().where(PackRow.job_id == job_id)
        | exists().where(Deletion.job_id == job_id, Deletion.due_at.is_not(None))
        | exists().where(
            OpenUpload.job_id == job_id, OpenUpload.finished_at.is_(None), OpenUpload.closed_at.is_(None)
        )
    )
    return not (await session.execute(anything)).scalar_one()


# --- facts ----------------------------------------------------------------------------------------------


async def points(session: AsyncSession, job_id: str, held: frozenset[str]) -> list[Point]:
    """Every checkpoint of a job; `held` ones and pinned ones are held."""
    statement = select(
        Checkpoint.id,
        Checkpoint.epoch,
        Checkpoint.seq,
        Checkpoint.committed_at,
        Checkpoint.pinned_at,
        Checkpoint.damaged_at,
    ).where(Checkpoint.job_id == job_id)
    return [
        Point(
            id=row.id,
            epoch=row.epoch,
            seq=row.seq,
            committed_at=row.committed_at,
            held=row.pinned_at is not None or row.id in held,
            damaged=row.damaged_at is not None,
        )
        for row in await session.execute(statement)
    ]


async def unfinished_uploads(session: AsyncSession, job_id: str) -> list[UploadFacts]:
    """Uploads that neither became a checkpoint nor were closed."""
    statement = select(OpenUpload.id, OpenUpload.epoch, OpenUpload.seq, OpenUpload.opened_at).where(
        OpenUpload.job_id == job_id, OpenUpload.finished_at.is_(None), OpenUpload.closed_at.is_(None)
    )
    return [
        UploadFacts(row.id, row.epoch, row.seq, row.opened_at) for row in await session.execute(statement)
    ]


async def newest_seq(session: AsyncSession, job_id: str) -> int:
    """Number of the job's newest upload; 0 before the first."""
    highest = await session.scalar(select(func.max(OpenUpload.seq)).where(OpenUpload.job_id == job_id))
    return highest or 0


async def unreferenced_packs(session: AsyncSession, job_id: str, limit: int) -> list[PackFacts]:
    """Packs that no checkpoint names, those marked first at the head."""
    statement = (
        select(PackRow.id, PackRow.upload_id, PackRow.marked_at)
        .where(PackRow.job_id == job_id, _named_by_none())
        .order_by(PackRow.marked_at.nulls_first(), PackRow.id)
        .limit(limit)
    )
    return [PackFacts(row.id, row.upload_id, row.marked_at) for row in await session.execute(statement)]


async def unreleased_forks(session: AsyncSession, job_id: str) -> list[tuple[str, str]]:
    """(forked job, checkpoint) of the forks that start from this job and have no checkpoint of their own yet."""
    statement = select(Fork.job_id, Fork.checkpoint_id).where(
        Fork.origin_job_id == job_id, Fork.released_at.is_(None)
    )
    return [(row.job_id, row.checkpoint_id) for row in await session.execute(statement)]


def _named_by_none() -> ColumnElement[bool]:
    return ~exists().where(CheckpointPack.job_id == PackRow.job_id, CheckpointPack.pack_id == PackRow.id)


# --- effects --------------------------------------------------------------------------------------------


async def release_fork(session: AsyncSession, job_id: str) -> None:
    """The forked job does not need its origin any more."""
    await session.execute(
        update(Fork).where(Fork.job_id == job_id, Fork.released_at.is_(None)).values(released_at=func.now())
    )


async def expire(session: AsyncSession, job_id: str, ids: Sequence[str], due_at: datetime) -> None:
    """Take checkpoints out of sight; their manifests go at `due_at`, their packs by marks like any other."""
    if not ids:
        return
    await session.execute(
        delete(CheckpointPack).where(CheckpointPack.job_id == job_id, CheckpointPack.checkpoint_id.in_(ids))
    )
    gone = await session.execute(
        delete(Checkpoint)
        .where(Checkpoint.job_id == job_id, Checkpoint.id.in_(ids))
        .returning(Checkpoint.manifest_key, Checkpoint.manifest_bytes)
    )
    await _condemn(session, job_id, [Condemned(row.manifest_key, row.manifest_bytes) for row in gone], due_at)


async def close_uploads(session: AsyncSession, job_id: str, ids: Sequence[str], due_at: datetime) -> None:
    """Give uploads up for good, and what manifests they may have put."""
    if not ids:
        return
    closed = await session.execute(
        update(OpenUpload)
        .where(
            OpenUpload.job_id == job_id,
            OpenUpload.id.in_(ids),
            OpenUpload.finished_at.is_(None),
            OpenUpload.closed_at.is_(None),
        )
        .values(closed_at=func.now())
        .returning(OpenUpload.manifest_keys)
    )
    keys = [key for (manifest_keys,) in closed for key in manifest_keys]
    await _condemn(session, job_id, [Condemned(key, 0) for key in keys], due_at)


async def condemn_manifests(session: AsyncSession, job_id: str, keys: Sequence[str]) -> None:
    """Manifests that an upload put and did not commit."""
    if keys:
        await _condemn(session, job_id, [Condemned(key, 0) for key in keys], await now(session))


async def mark(session: AsyncSession, job_id: str, pack_ids: Sequence[str]) -> None:
    """The first mark."""
    if pack_ids:
        await session.execute(
            update(PackRow)
            .where(PackRow.job_id == job_id, PackRow.id.in_(pack_ids), PackRow.marked_at.is_(None))
            .values(marked_at=func.now())
        )


async def take(
    session: AsyncSession, job_id: str, pack_ids: Sequence[str], prefix: str, due_at: datetime
) -> tuple[int, int]:
    """The second mark: the packs leave their table, which the database refuses while a checkpoint names one.

    Answers how many and their bytes.
    """
    if not pack_ids:
        return 0, 0
    gone = (
        await session.execute(
            delete(PackRow)
            .where(PackRow.job_id == job_id, PackRow.id.in_(pack_ids), _named_by_none())
            .returning(PackRow.id, PackRow.size_bytes)
        )
    ).all()
    await _condemn(session, job_id, [Condemned(f"{prefix}{row.id}", row.size_bytes) for row in gone], due_at)
    return len(gone), sum(row.size_bytes for row in gone)


async def _condemn(
    session: AsyncSession, job_id: str | None, objects: Sequence[Condemned], due_at: datetime
) -> None:
    rows = [
        {
            "id": new_id("del"), "key": each.key, "job_id": job_id, "size_bytes": each.size_bytes, "due_at": due_at
        }
        for each in objects
    ]  # fmt: skip
    if rows:
        await session.execute(insert(Deletion).on_conflict_do_nothing(index_elements=["key"]), rows)


async def any_collected(session: AsyncSession, keys: Sequence[str]) -> bool:
    """Whether one of these keys is or was on its way out."""
    found = await session.scalar(select(Deletion.id).where(Deletion.key.in_(keys)).limit(1))
    return found is not None


# --- objects --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DueDeletion:
    """An object to remove now; `again`: it was removed once before."""

    claim: Claim
    key: str
    size_bytes: int
    job_id: str | None
    again: bool


async def claimed_deletions(session: AsyncSession, claims: Sequence[Claim]) -> list[DueDeletion]:
    """What the claims are for."""
    by_id = {claim.row_id: claim for claim in claims}
    rows = await session.scalars(select(Deletion).where(Deletion.id.in_(by_id)))
    return [
        DueDeletion(by_id[row.id], row.key, row.size_bytes, row.job_id, row.deleted_at is not None)
        for row in rows
    ]


async def drop_settled(session: AsyncSession, deletion_id: str) -> None:
    """Forget a deletion that no job's writes could meet again."""
    await session.execute(delete(Deletion).where(Deletion.id == deletion_id))


async def totals(session: AsyncSession) -> tuple[int, int, int, int]:
    """Objects and bytes that wait for their deletion, and those deleted of jobs that are still kept."""
    waiting = Deletion.deleted_at.is_(None)
    row = (
        await session.execute(
            select(
                func.count().filter(waiting),
                func.coalesce(func.sum(Deletion.size_bytes).filter(waiting), 0),
                func.count().filter(~waiting),
                func.coalesce(func.sum(Deletion.size_bytes).filter(~waiting), 0),
            )
        )
    ).one()
    return int(row[0]), int(row[1]), int(row[2]), int(row[3])


# --- folders sent with jobs -----------------------------------------------------------------------------


async def stale_folders(session: AsyncSession, age: timedelta, limit: int) -> Sequence[JobUpload]:
    """Uploads not wanted for `age`, locked; those that somebody is about to use are passed over."""
    statement = (
        select(JobUpload)
        .where(JobUpload.wanted_at < func.now() - age)
        .order_by(JobUpload.wanted_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (await session.scalars(statement)).all()


async def remove_folder(session: AsyncSession, row: JobUpload, key: str) -> None:
    """The upload's row goes; its object follows."""
    await session.delete(row)
    await session.flush()
    await _condemn(session, None, [Condemned(key, row.size_bytes)], await now(session))
