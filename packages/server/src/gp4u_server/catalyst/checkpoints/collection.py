"""Collection of what no checkpoint needs. A decision is a row before it is an effect; docs/design/checkpoints.md, section 9.

The order: under the job's lock a checkpoint leaves its table, later its packs are marked, later they leave *their* table for
`store_deletions`; only then, with no transaction open, is an object touched. Nothing in `store_deletions` ever comes
back, so whoever deletes late, twice or after a crash deletes what nobody can name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from gp4u_protocol.job_spec import CheckpointRule
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.checkpoints import collection_rows as rows
from gp4u_server.catalyst.checkpoints.models import Collection, Deletion
from gp4u_server.catalyst.checkpoints.ports import ObjectStore
from gp4u_server.catalyst.checkpoints.retention import (
    KeepRule,
    PackVerdict,
    expired,
    is_open,
    judge_packs,
    to_close,
)
from gp4u_server.catalyst.checkpoints.service import pack_key, upload_key
from gp4u_server.catalyst.jobs.views import JobView, PlacementView
from gp4u_server.foundation.claims import Claim, Claims
from gp4u_server.settings import Settings

JOBS_A_ROUND = 20
PACKS_A_PASS_MAX = 5_000
CLAIM_TTL_S = 60.0
OBJECTS_A_ROUND = 100
FOLDERS_A_ROUND = 50
_QUIET = timedelta(days=1)


class CollectedJobs(Protocol):
    """What the collection asks of `catalyst.jobs` (its JobService has it)."""

    async def get(self, session: AsyncSession, job_id: str) -> JobView: ...

    async def lock(
        self, session: AsyncSession, job_id: str, *, skip_locked: bool = False
    ) -> JobView | None: ...

    async def newest_placement(self, session: AsyncSession, job_id: str) -> PlacementView | None: ...

    async def folder_wanted_at(
        self, session: AsyncSession, renter_id: str, upload_id: str
    ) -> datetime | None: ...


@dataclass(frozen=True)
class CollectionTerms:
    """What the platform keeps where a job says nothing, and how patient the collection is."""

    keep: KeepRule
    keep_ended: timedelta
    every: timedelta
    grace: timedelta

    @classmethod
    def of(cls, settings: Settings) -> "CollectionTerms":
        """The terms in the settings."""
        return cls(
            keep=KeepRule(settings.checkpoint_keep_last, settings.checkpoint_keep_hourly),
            keep_ended=timedelta(days=settings.checkpoint_keep_ended_days),
            every=timedelta(seconds=settings.checkpoint_collect_every_s),
            grace=timedelta(seconds=settings.checkpoint_collect_grace_s),
        )

    def rule_of(self, rule: CheckpointRule) -> KeepRule:
        """A job's own rule, completed by the platform's."""
        own = rule.keep
        if own is None:
            return self.keep
        return KeepRule(
            self.keep.last if own.last is None else own.last,
            self.keep.hourly if own.hourly is None else own.hourly,
        )


@dataclass(frozen=True)
class Findings:
    """What one look at a job decided. `more`: there were more packs than one look takes."""

    job_id: str
    expire: tuple[str, ...]
    close: tuple[str, ...]
    packs: PackVerdict
    release: tuple[str, ...]
    final: bool
    more: bool
    keep_until: datetime | None
    now: datetime

    @property
    def is_empty(self) -> bool:
        return not (self.expire or self.close or self.packs.mark or self.packs.take or self.release)


@dataclass(frozen=True)
class Collected:
    """What a pass over one job did. `forgotten`: nothing of the job is left in the store."""

    job_id: str
    checkpoints: int = 0
    uploads: int = 0
    packs_marked: int = 0
    packs: int = 0
    packs_bytes: int = 0
    forgotten: bool = False
    more: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.checkpoints or self.uploads or self.packs_marked or self.packs or self.forgotten)


@dataclass(frozen=True)
class CheckpointCollection:
    """Looks through jobs and removes objects. What takes a session talks to nobody; what talks to the store takes none."""

    jobs: CollectedJobs
    store: ObjectStore
    terms: CollectionTerms

    @property
    def job_claims(self) -> Claims:
        """Rights to look through a job: one at a time."""
        return Claims(Collection.__table__)

    @property
    def object_claims(self) -> Claims:
        """Rights to remove an object."""
        return Claims(Deletion.__table__)

    # --- jobs --------------------------------------------------------------------------------------------

    async def claim_jobs(self, session: AsyncSession, limit: int = JOBS_A_ROUND) -> Sequence[Claim]:
        """Jobs whose time has come."""
        due = Collection.__table__.c.next_at <= await rows.now(session)
        return await self.job_claims.take(
            session, due=due, order_by=Collection.__table__.c.next_at, limit=limit, ttl_s=CLAIM_TTL_S
        )

    async def look(self, session: AsyncSession, job: JobView) -> Findings:
        """What would be done to a job now; writes nothing. Binding only while the job's row is locked."""
        now = await rows.now(session)
        placement = await self.jobs.newest_placement(session, job.id)
        live = placement if placement is not None and placement.ended_at is None else None
        running_epoch = live.epoch if live is not None and live.epoch == job.epoch else None
        held, release = await self._forks(session, job.id)
        keep_until = None if job.ended_at is None else job.ended_at + self.terms.keep_ended
        going = expired(
            await rows.points(session, job.id, held),
            self.terms.rule_of(job.spec.checkpoint),
            now,
            restoring=live is not None and (live.running_at is None or live.arriving),
            nothing_kept_after=keep_until,
        )
        newest_seq = await rows.newest_seq(session, job.id)
        unfinished = await rows.unfinished_uploads(session, job.id)
        closing = to_close(
            unfinished, now, self.terms.grace, running_epoch=running_epoch, newest_seq=newest_seq
        )
        unreferenced = await rows.unreferenced_packs(session, job.id, PACKS_A_PASS_MAX)
        verdict = judge_packs(
            unreferenced,
            {upload.id for upload in unfinished},
            [
                upload
                for upload in unfinished
                if is_open(upload, running_epoch=running_epoch, newest_seq=newest_seq)
            ],
            now,
            self.terms.grace,
        )
        return Findings(
            job_id=job.id,
            expire=tuple(going),
            close=tuple(closing),
            packs=verdict,
            release=tuple(release),
            final=job.state.is_final,
            more=len(unreferenced) == PACKS_A_PASS_MAX and bool(verdict.mark or verdict.take),
            keep_until=keep_until,
            now=now,
        )

    async def collect(self, session: AsyncSession, claim: Claim) -> Collected | None:
        """Look through the claimed job and carry out what was found; None when the claim was lost: nothing was done."""
        job = await self.jobs.lock(session, claim.row_id)
        if job is None or not await rows.still_claimed(session, claim):
            return None
        found = await self.look(session, job)
        later = found.now + self.terms.grace
        await rows.expire(session, job.id, found.expire, later)
        await rows.close_uploads(session, job.id, found.close, later)
        await rows.mark(session, job.id, found.packs.mark)
        packs, packs_bytes = await rows.take(
            session, job.id, found.packs.take, pack_key(job.id, ""), found.now
        )
        for forked in found.release:
            await rows.release_fork(session, forked)
        forgotten = False
        if found.final and found.is_empty and await rows.is_empty(session, job.id):
            await rows.forget(session, job.id)
            forgotten = True
        else:
            await self.job_claims.finish(session, claim, next_at=self._next(found))
        return Collected(
            job_id=job.id,
            checkpoints=len(found.expire),
            uploads=len(found.close),
            packs_marked=len(found.packs.mark),
            packs=packs,
            packs_bytes=packs_bytes,
            forgotten=forgotten,
            more=found.more,
        )

    async def _forks(self, session: AsyncSession, job_id: str) -> tuple[frozenset[str], list[str]]:
        """Checkpoints that forks wait for, and forks that ended without a checkpoint of their own."""
        held, release = set(), []
        for forked, checkpoint_id in await rows.unreleased_forks(session, job_id):
            if (await self.jobs.get(session, forked)).state.is_final:
                release.append(forked)
            else:
                held.add(checkpoint_id)
        return frozenset(held), release

    def _next(self, found: Findings) -> datetime:
        if found.more:
            return found.now
        if found.final and found.is_empty:  # nothing changes by itself before this
            ending = found.keep_until
            if ending is not None and ending > found.now:
                return ending
            return found.now + min(_QUIET, max(self.terms.grace, self.terms.every))
        return found.now + self.terms.every

    # --- objects -----------------------------------------------------------------------------------------

    async def claim_objects(
        self, session: AsyncSession, limit: int = OBJECTS_A_ROUND
    ) -> list[rows.DueDeletion]:
        """Objects whose time has come."""
        due_at = Deletion.__table__.c.due_at
        claims = await self.object_claims.take(
            session, due=due_at <= await rows.now(session), order_by=due_at, limit=limit, ttl_s=CLAIM_TTL_S
        )
        return await rows.claimed_deletions(session, claims)

    async def remove(self, deletion: rows.DueDeletion) -> None:
        """Remove one object from the store. Raises StoreUnavailable."""
        await self.store.delete(deletion.key)

    async def record_removed(self, session: AsyncSession, deletion: rows.DueDeletion) -> bool:
        """The object is gone: once more a grace period later, for an upload that was still on its way; then for good.

        False when the claim was lost; whoever has it does the same again.
        """
        now = await rows.now(session)
        if not deletion.again:
            values = {"deleted_at": now, "due_at": now + self.terms.grace}
        else:
            values = {"settled_at": now, "due_at": None}  # type: ignore[dict-item]
        finished = await self.object_claims.finish(session, deletion.claim, **values)
        if finished and deletion.again and deletion.job_id is None:
            await rows.drop_settled(session, deletion.claim.row_id)
        return finished

    # --- folders sent with jobs --------------------------------------------------------------------------

    async def collect_folders(self, session: AsyncSession) -> tuple[int, int]:
        """Remove folders that no job has needed for as long as an ended job is kept; answers (looked at, removed)."""
        stale = await rows.stale_folders(session, self.terms.keep_ended, FOLDERS_A_ROUND)
        removed = 0
        for row in stale:
            # Whoever submits a job with this folder locks its row first, so no such job is under way here.
            wanted_at = await self.jobs.folder_wanted_at(session, row.renter_id, row.id)
            if wanted_at is not None and wanted_at > row.wanted_at:
                row.wanted_at = wanted_at
            if row.wanted_at < await rows.now(session) - self.terms.keep_ended:
                await rows.remove_folder(session, row, upload_key(row.renter_id, row.id))
                removed += 1
        return len(stale), removed
