"""The loops of the collection: look through jobs, remove objects, remove folders. Any number of them may run."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from gp4u_server.catalyst.checkpoints.collection import CheckpointCollection, Collected
from gp4u_server.catalyst.checkpoints.collection_rows import DueDeletion
from gp4u_server.catalyst.checkpoints.ports import StoreUnavailable
from gp4u_server.kit.db import Database

log = structlog.get_logger(__name__)

DELETIONS_AT_ONCE = 8


@dataclass(frozen=True)
class CollectionLoop:
    """Looks through the jobs that are due: what expires, what is marked, what goes. `told` hears of each."""

    database: Database
    collection: CheckpointCollection
    told: Callable[[Collected], None] = field(default=lambda collected: None)
    name: str = "checkpoint_collection"
    interval_s: float = 10.0
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """One batch of jobs; answers how many."""
        async with self.database.transaction() as session:
            claims = await self.collection.claim_jobs(session)
        for claim in claims:
            try:
                async with self.database.transaction() as session:
                    collected = await self.collection.collect(session, claim)
            except Exception:  # the claim runs out and the job comes up again; it keeps no other waiting
                log.exception("checkpoint_collection_failed", job_id=claim.row_id)
                continue
            if collected is not None:
                self.told(collected)
                if not collected.is_empty:
                    _log(collected)
        return len(claims)


@dataclass(frozen=True)
class DeletionLoop:
    """Removes objects that were decided to go, and removes them again a grace period later."""

    database: Database
    collection: CheckpointCollection
    name: str = "store_deletion"
    interval_s: float = 10.0
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """One batch of objects; answers how many were removed. A store that does not answer is asked again later."""
        async with self.database.transaction() as session:
            due = await self.collection.claim_objects(session)
        turns = asyncio.Semaphore(DELETIONS_AT_ONCE)

        async def remove(deletion: DueDeletion) -> bool:
            async with turns:
                try:
                    await self.collection.remove(deletion)
                except StoreUnavailable as failure:
                    log.warning(
                        "object_not_removed", key=deletion.key, reason=str(failure.__cause__ or failure)
                    )
                    return False
            async with self.database.transaction() as session:
                return await self.collection.record_removed(session, deletion)

        removed = await asyncio.gather(*(remove(deletion) for deletion in due))
        if any(removed):
            gone = [each for each, done in zip(due, removed, strict=True) if done and not each.again]
            log.info("objects_removed", objects=len(gone), bytes=sum(each.size_bytes for each in gone))
        return sum(removed)


@dataclass(frozen=True)
class FolderLoop:
    """Removes folders sent with jobs that ended long ago."""

    database: Database
    collection: CheckpointCollection
    name: str = "folder_collection"
    interval_s: float = 300.0
    channels: tuple[str, ...] = ()

    async def run_once(self) -> int:
        """One batch; answers how many were looked at."""
        async with self.database.transaction() as session:
            looked_at, removed = await self.collection.collect_folders(session)
        if removed:
            log.info("folders_collected", folders=removed)
        return looked_at


def _log(collected: Collected) -> None:
    log.info(
        "checkpoints_collected",
        job_id=collected.job_id,
        checkpoints=collected.checkpoints,
        uploads=collected.uploads,
        packs_marked=collected.packs_marked,
        packs=collected.packs,
        packs_bytes=collected.packs_bytes,
        forgotten=collected.forgotten,
    )
