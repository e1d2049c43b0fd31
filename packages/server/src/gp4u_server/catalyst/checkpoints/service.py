"""Use cases of checkpoints. What talks to the store takes no session; what writes takes one and talks to nobody."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from blake3 import blake3
from gp4u_protocol.checkpoint.limits import MANIFEST_BYTES_MAX, PACKS_MAX
from gp4u_protocol.transparent import TransparentFacts
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.checkpoints import collection_rows, repository
from gp4u_server.catalyst.checkpoints.decisions import KnownPack, judge_commit, not_stored
from gp4u_server.catalyst.checkpoints.errors import (
    CheckpointConflict,
    CheckpointNotFound,
    ObjectsMissing,
    PacksUnknown,
    UploadNotFound,
)
from gp4u_server.catalyst.checkpoints.models import Checkpoint, JobUpload, OpenUpload
from gp4u_server.catalyst.checkpoints.ports import ObjectStore, SignedPut
from gp4u_server.catalyst.checkpoints.types import (
    Announced,
    CheckpointView,
    Commit,
    Download,
    OpenedUpload,
    UploadView,
)
from gp4u_server.catalyst.jobs.errors import StaleEpoch
from gp4u_server.catalyst.jobs.service import LeasedPlacement
from gp4u_server.catalyst.jobs.views import JobView, PlacementView
from gp4u_server.kit.ids import new_id

ADDRESS_TTL_S = 900
HEADS_AT_ONCE = 32
RESTORE_POINTS_MAX = 20
MANIFESTS_AN_UPLOAD_MAX = 16


class Jobs(Protocol):
    """What checkpoints ask of `catalyst.jobs` (its JobService has it)."""

    async def assert_current(self, session: AsyncSession, placement_id: str, epoch: int) -> PlacementView: ...

    async def live_on_node(self, session: AsyncSession, node_id: str) -> list[LeasedPlacement]: ...

    async def get(self, session: AsyncSession, job_id: str) -> JobView: ...

    async def lock_job(self, session: AsyncSession, job_id: str) -> bool: ...

    async def data_key(self, session: AsyncSession, job_id: str) -> bytes: ...

    async def record_checkpoint(
        self,
        session: AsyncSession,
        placement_id: str,
        epoch: int,
        *,
        checkpoint_id: str,
        seq: int,
        step: int | None = None,
        size_bytes: int | None = None,
        stored_bytes: int | None = None,
        trigger: str | None = None,
        ms: int | None = None,
        pace: dict[str, float] | None = None,
    ) -> None: ...


@dataclass(frozen=True)
class Fence:
    """Who calls: a node, for one placement, in one epoch."""

    node_id: str
    placement_id: str
    epoch: int


@dataclass(frozen=True)
class CheckpointService:
    """See each use case. A method with a fence raises StaleEpoch unless the placement is live, current and this node's."""

    jobs: Jobs
    store: ObjectStore

    # --- writing -----------------------------------------------------------------------------------------

    async def open_upload(self, session: AsyncSession, fence: Fence) -> OpenedUpload:
        """Record that a snapshot begins; answers its number. Sequence numbers grow over the whole job."""
        placement = await self.pass_fence(session, fence)
        seq = await repository.next_seq(session, placement.job_id)
        row = OpenUpload(
            id=new_id("up"), job_id=placement.job_id, placement_id=placement.id, epoch=fence.epoch, seq=seq
        )
        session.add(row)
        await session.flush()
        await collection_rows.enrol(session, placement.job_id)
        return _opened(row)

    async def announce_packs(
        self, session: AsyncSession, fence: Fence, upload_id: str, packs: Iterable[Announced]
    ) -> OpenedUpload:
        """Record packs before their first byte. Repeating an announcement changes nothing.

        Raises UploadNotFound, PacksUnknown (announced before with another length, collected, or too many).
        """
        upload = await self.find_upload(session, fence, upload_id)
        wanted = {pack.id: pack for pack in packs}
        if await collection_rows.any_collected(session, [pack_key(upload.job_id, each) for each in wanted]):
            raise PacksUnknown("A pack of this name was collected; its name is never used again.")
        known = await repository.packs_of(session, upload.job_id, list(wanted))
        for pack_id, row in known.items():
            if (row.upload_id, row.size_bytes) != (upload_id, wanted[pack_id].size_bytes):
                raise PacksUnknown(f"Pack {pack_id} was announced before as something else.")
        if await repository.count_packs(session, upload_id) + len(wanted) - len(known) > PACKS_MAX:
            raise PacksUnknown(f"A checkpoint has at most {PACKS_MAX} packs.")
        fresh = [pack for pack in wanted.values() if pack.id not in known]
        await repository.announce_packs(session, upload.job_id, upload_id, fresh)
        return upload

    async def find_upload(self, session: AsyncSession, fence: Fence, upload_id: str) -> OpenedUpload:
        """An upload of this very placement and epoch. Raises UploadNotFound."""
        placement = await self.pass_fence(session, fence)
        row = await repository.get_upload(session, upload_id)
        if row is None or (row.job_id, row.placement_id, row.epoch) != (
            placement.job_id,
            placement.id,
            fence.epoch,
        ):
            raise UploadNotFound("There is no such upload of this placement.")
        if row.closed_at is not None:
            raise UploadNotFound(
                "This upload was given up and what it stored is being collected; begin again."
            )
        return _opened(row)

    async def note_manifest(
        self, session: AsyncSession, fence: Fence, upload_id: str, manifest_blake3: str
    ) -> OpenedUpload:
        """Record a manifest before its first byte. Raises UploadNotFound, CheckpointConflict."""
        upload = await self.find_upload(session, fence, upload_id)
        row = await repository.get_upload(session, upload_id)
        assert row is not None
        key = manifest_key(upload, manifest_blake3)
        if row.finished_at is not None:
            there = await repository.find_numbered(session, upload.job_id, upload.epoch, upload.seq)
            if there is None or there.manifest_key != key:
                raise CheckpointConflict("This upload has become a checkpoint already.")
        elif key not in row.manifest_keys:
            if len(row.manifest_keys) >= MANIFESTS_AN_UPLOAD_MAX:
                raise CheckpointConflict(f"An upload has at most {MANIFESTS_AN_UPLOAD_MAX} manifests.")
            row.manifest_keys = [*row.manifest_keys, key]
        return upload

    async def sign_packs(self, upload: OpenedUpload, packs: Iterable[Announced]) -> dict[str, SignedPut]:
        """Addresses that take the packs."""
        return {
            pack.id: await self.store.sign_put(
                pack_key(upload.job_id, pack.id), size_bytes=pack.size_bytes, expires_in_s=ADDRESS_TTL_S
            )
            for pack in packs
        }

    async def sign_manifest(self, upload: OpenedUpload, manifest_blake3: str, size_bytes: int) -> SignedPut:
        """An address that takes the manifest."""
        key = manifest_key(upload, manifest_blake3)
        return await self.store.sign_put(key, size_bytes=size_bytes, expires_in_s=ADDRESS_TTL_S)

    async def check_stored(self, upload: OpenedUpload, commit: Commit) -> None:
        """Every object the commit names is in the store, whole. Raises ObjectsMissing, StoreUnavailable."""
        limit = asyncio.Semaphore(HEADS_AT_ONCE)

        async def stored_size(pack: Announced) -> int | None:
            async with limit:
                return await self.store.size_of(pack_key(upload.job_id, pack.id))

        named = {pack.id: pack.size_bytes for pack in commit.packs}
        sizes = await asyncio.gather(*(stored_size(pack) for pack in commit.packs))
        missing = not_stored(dict(zip((pack.id for pack in commit.packs), sizes, strict=True)), named)
        if missing:
            raise ObjectsMissing(f"{missing} of {len(named)} packs are not stored as announced.")
        content = await self.store.read(
            manifest_key(upload, commit.blake3), bytes_max=min(commit.manifest_bytes, MANIFEST_BYTES_MAX)
        )
        if content is None or len(content) != commit.manifest_bytes:
            raise ObjectsMissing("The manifest is not stored as announced.")
        if blake3(content).hexdigest() != commit.blake3:
            raise ObjectsMissing("The stored manifest is not the one that was announced.")

    async def commit(self, session: AsyncSession, fence: Fence, commit: Commit) -> CheckpointView:
        """Make the checkpoint exist. Call `check_stored` before, outside any transaction.

        Repeating a commit answers the same row. Raises UploadNotFound, PacksUnknown, CheckpointConflict.
        """
        placement = await self.pass_fence(session, fence)
        upload = await self.find_upload(session, fence, commit.upload_id)
        there = await repository.find_numbered(session, upload.job_id, upload.epoch, upload.seq)
        if there is not None:
            if there.manifest_blake3 != commit.blake3:
                raise CheckpointConflict("Another checkpoint has this number already.")
            return view_of(there)
        opened = await repository.get_upload(session, upload.id)
        assert opened is not None
        if opened.finished_at is not None:
            raise CheckpointConflict("This checkpoint was committed before and is not kept any more.")
        named = {pack.id: pack.size_bytes for pack in commit.packs}
        rows = await repository.packs_of(session, upload.job_id, list(named))
        known = {
            pack_id: KnownPack(row.upload_id, row.size_bytes, row.stored_at is not None)
            for pack_id, row in rows.items()
        }
        verdict = judge_commit(upload.id, named, known)
        if verdict.refusal is not None:
            raise PacksUnknown(verdict.refusal)
        fresh = verdict.fresh
        checkpoint = Checkpoint(
            id=new_id("ckpt"),
            job_id=upload.job_id,
            epoch=upload.epoch,
            seq=upload.seq,
            upload_id=upload.id,
            placement_id=placement.id,
            node_id=placement.node_id,
            node_name=placement.node_name,
            manifest_key=manifest_key(upload, commit.blake3),
            manifest_blake3=commit.blake3,
            manifest_bytes=commit.manifest_bytes,
            files=commit.files,
            size_bytes=commit.content_bytes,
            stored_bytes=sum(named[pack_id] for pack_id in fresh),
            step=commit.step,
            trigger=commit.trigger,
            transparent=commit.transparent,
        )
        session.add(checkpoint)
        await session.flush()
        await repository.mark_stored(session, upload.id, fresh)
        await repository.link_packs(session, checkpoint.id, upload.job_id, list(named))
        await session.refresh(checkpoint)
        opened.finished_at = checkpoint.committed_at
        others = [key for key in opened.manifest_keys if key != checkpoint.manifest_key]
        opened.manifest_keys = []
        await collection_rows.condemn_manifests(session, upload.job_id, others)
        await collection_rows.release_fork(session, upload.job_id)
        took = checkpoint.committed_at - opened.opened_at
        await self.jobs.record_checkpoint(
            session,
            placement.id,
            fence.epoch,
            checkpoint_id=checkpoint.id,
            seq=checkpoint.seq,
            step=checkpoint.step,
            size_bytes=checkpoint.size_bytes,
            stored_bytes=checkpoint.stored_bytes,
            trigger=checkpoint.trigger,
            ms=max(0, round(took.total_seconds() * 1000)),
            pace=commit.pace,
        )
        return view_of(checkpoint)

    # --- reading -----------------------------------------------------------------------------------------

    async def restore_points(self, session: AsyncSession, fence: Fence) -> list[CheckpointView]:
        """What the placement may start from, by (epoch, seq), newest first; what its job was forked from comes last."""
        placement = await self.pass_fence(session, fence)
        own = await self.newest(session, placement.job_id, RESTORE_POINTS_MAX)
        origin = await origin_of(session, placement.job_id)
        return own if origin is None else [*own, origin]

    async def restore_point(
        self, session: AsyncSession, fence: Fence, checkpoint_id: str
    ) -> tuple[CheckpointView, bytes | None]:
        """One restore point with its packs, and its job's data key when that is another job. Raises CheckpointNotFound."""
        placement = await self.pass_fence(session, fence)
        origin = await origin_of(session, placement.job_id)
        if origin is None or origin.id != checkpoint_id:
            return await self.get(session, placement.job_id, checkpoint_id), None
        found = await self.get(session, origin.job_id, checkpoint_id)
        return found, await self.jobs.data_key(session, origin.job_id)

    async def newest(
        self, session: AsyncSession, job_id: str, limit: int, before: tuple[int, int] | None = None
    ) -> list[CheckpointView]:
        """Checkpoints of a job by (epoch, seq), newest first, older than `before`."""
        return [view_of(row) for row in await repository.newest(session, job_id, limit, before)]

    async def get(self, session: AsyncSession, job_id: str, checkpoint_id: str) -> CheckpointView:
        """One checkpoint with its packs. Raises CheckpointNotFound."""
        row = await self._row(session, job_id, checkpoint_id)
        return view_of(row, await repository.pack_ids_of(session, row.id))

    async def sign_download(self, checkpoint: CheckpointView) -> Download:
        """Addresses of everything `checkpoint` (from `get`) consists of."""
        return Download(
            checkpoint=checkpoint,
            manifest_url=await self.store.sign_get(checkpoint.manifest_key, expires_in_s=ADDRESS_TTL_S),
            pack_urls={
                pack_id: await self.store.sign_get(
                    pack_key(checkpoint.job_id, pack_id), expires_in_s=ADDRESS_TTL_S
                )
                for pack_id in checkpoint.pack_ids
            },
        )

    async def record_damage(
        self, session: AsyncSession, fence: Fence, checkpoint_id: str, detail: str
    ) -> None:
        """A node found a checkpoint damaged. It stays a restore point: the next node may read it well."""
        placement = await self.pass_fence(session, fence)
        row = await self._row(session, placement.job_id, checkpoint_id)
        row.damaged_at = row.damaged_at or datetime.now(UTC)
        row.damage = detail

    async def pass_fence(self, session: AsyncSession, fence: Fence) -> PlacementView:
        """The placement, its job locked until the transaction ends. Raises StaleEpoch."""
        placement = await self.jobs.assert_current(session, fence.placement_id, fence.epoch)
        if placement.node_id != fence.node_id:
            raise StaleEpoch("This placement is not on this node.")
        return placement

    async def _row(self, session: AsyncSession, job_id: str, checkpoint_id: str) -> Checkpoint:
        row = await repository.find(session, job_id, checkpoint_id)
        if row is None:
            raise CheckpointNotFound(f"There is no checkpoint {checkpoint_id} of this job.")
        return row

    # --- the folder sent with a job ----------------------------------------------------------------------

    async def find_or_create_job_upload(
        self, session: AsyncSession, renter_id: str, digest: str, size_bytes: int, *, fresh: bool = False
    ) -> UploadView:
        """The row of these bytes. `fresh`: make a new one whatever is there."""
        row = None
        if not fresh:
            row = await repository.want_job_upload(session, renter_id, digest, size_bytes)
        if row is None:
            row = JobUpload(id=new_id("upl"), renter_id=renter_id, blake3=digest, size_bytes=size_bytes)
            session.add(row)
            await session.flush()
        return UploadView(row.id, row.size_bytes, row.blake3)

    async def stored_size(self, renter_id: str, upload_id: str) -> int | None:
        """How many bytes of an upload are stored; None when none arrived."""
        return await self.store.size_of(upload_key(renter_id, upload_id))

    async def sign_job_upload(self, renter_id: str, upload: UploadView) -> SignedPut:
        """An address that takes the folder."""
        return await self.store.sign_put(
            upload_key(renter_id, upload.id), size_bytes=upload.size_bytes, expires_in_s=ADDRESS_TTL_S
        )

    async def sign_job_download(self, renter_id: str, upload: UploadView) -> str:
        """An address that answers the folder."""
        return await self.store.sign_get(upload_key(renter_id, upload.id), expires_in_s=ADDRESS_TTL_S)

    async def require_job_upload(self, session: AsyncSession, renter_id: str, upload_id: str) -> UploadView:
        """The renter's own upload, which stays until the transaction ends. Raises UploadNotFound; another renter's answers
        the same."""
        row = await repository.hold_job_upload(session, upload_id)
        if row is None or row.renter_id != renter_id:
            raise UploadNotFound(f"There is no upload {upload_id} among yours.")
        return UploadView(row.id, row.size_bytes, row.blake3)

    async def find_job_upload_for_node(
        self, session: AsyncSession, node_id: str, upload_id: str
    ) -> tuple[UploadView, str]:
        """The upload and its object key, if a live placement of this node needs it. Raises UploadNotFound."""
        live = await self.jobs.live_on_node(session, node_id)
        row = await repository.get_job_upload(session, upload_id)
        if row is None or not any(
            placement.spec.upload_id == upload_id and placement.renter_id == row.renter_id
            for placement in live
        ):
            raise UploadNotFound("No placement of this node needs such an upload.")
        return UploadView(row.id, row.size_bytes, row.blake3), upload_key(row.renter_id, row.id)


@dataclass(frozen=True)
class StoredFootprint:
    """What a node must fetch before a job can run: the router's `Footprint` port."""

    async def bytes_to_fetch(self, session: AsyncSession, job: JobView) -> int:
        """Bytes of the job's folder, as packed, and of the files of the checkpoint that it restores."""
        upload = await repository.get_job_upload(session, job.spec.upload_id) if job.spec.upload_id else None
        checkpoint = await repository.size_of(session, job.restore.checkpoint_id) if job.restore else 0
        return (upload.size_bytes if upload else 0) + checkpoint

    async def dumped_on(self, session: AsyncSession, job: JobView) -> TransparentFacts | None:
        """The node that the job's restore point is a whole dump of; None: there is none, or it is files."""
        row = await repository.find(session, job.id, job.restore.checkpoint_id) if job.restore else None
        if row is None or row.transparent is None:
            return None
        return TransparentFacts.model_validate(row.transparent["made_by"])


def pack_key(job_id: str, pack_id: str) -> str:
    """The object of a pack."""
    return f"jobs/{job_id}/packs/{pack_id}"


def manifest_key(upload: OpenedUpload, digest: str) -> str:
    """The object of a manifest. Epoch, number and hash: neither a stale node nor a second try can hit another's."""
    return f"jobs/{upload.job_id}/manifests/{upload.epoch}/{upload.seq}-{digest[:16]}"


def upload_key(renter_id: str, upload_id: str) -> str:
    """The object of a job's folder."""
    return f"uploads/{renter_id}/{upload_id}"


async def origin_of(session: AsyncSession, job_id: str) -> CheckpointView | None:
    """What a job was forked from, as long as it has no checkpoint of its own."""
    row = await repository.find_origin(session, job_id)
    return None if row is None else view_of(row)


def _opened(row: OpenUpload) -> OpenedUpload:
    return OpenedUpload(row.id, row.job_id, row.epoch, row.seq)


def view_of(row: Checkpoint, pack_ids: tuple[str, ...] = ()) -> CheckpointView:
    return CheckpointView(
        id=row.id,
        job_id=row.job_id,
        epoch=row.epoch,
        seq=row.seq,
        node_name=row.node_name,
        manifest_key=row.manifest_key,
        manifest_blake3=row.manifest_blake3,
        manifest_bytes=row.manifest_bytes,
        files=row.files,
        size_bytes=row.size_bytes,
        stored_bytes=row.stored_bytes,
        step=row.step,
        trigger=row.trigger,
        committed_at=row.committed_at,
        damaged_at=row.damaged_at,
        pinned_at=row.pinned_at,
        transparent=row.transparent,
        pack_ids=pack_ids,
    )
