"""Uploads, commits, retention and collection, around production's fencing, `judge_commit` and `retention`.

The rows and the order of writes are those of docs/design/checkpoints.md; the store is a set of names. Collection's marks
are one transaction a job, deletions follow it outside: first the row is gone, then the object.
"""

from collections import defaultdict
from datetime import datetime, timedelta

from gp4u_server.catalyst.checkpoints import decisions as commits
from gp4u_server.catalyst.checkpoints import retention
from gp4u_server.catalyst.jobs import fencing

from gp4u_simulation.referee import Referee
from gp4u_simulation.rows import CheckpointRow, JobRow, PackRow, PlacementRow, UploadRow

PACK_BYTES = 1000
GRACE = timedelta(seconds=4)
KEEP = retention.KeepRule(last=2, hourly=0)


class Checkpoints:
    """The rows, and the use cases of `catalyst.checkpoints`."""

    def __init__(self, referee: Referee) -> None:
        self.referee = referee
        self.uploads: dict[str, UploadRow] = {}
        self.packs: dict[str, dict[str, PackRow]] = defaultdict(dict)  # job → pack → row
        self.committed: dict[str, dict[str, CheckpointRow]] = defaultdict(dict)
        self.refused = 0

    # --- a node's side -----------------------------------------------------------------------------------

    def open(self, placement: PlacementRow, pack_id: str, now: datetime) -> UploadRow:
        """Open an upload and announce its pack: rows before the first byte. The caller has passed the fence."""
        job = placement.job
        seq = 1 + max((upload.seq for upload in self.uploads.values() if upload.job is job), default=0)
        upload = UploadRow(f"up-{job.id}.{seq}", job, placement.id, placement.epoch, seq, now)
        self.uploads[upload.id] = upload
        # A repeated request opens another upload, and that one did not announce the pack.
        self.packs[job.id].setdefault(pack_id, PackRow(pack_id, upload.id, PACK_BYTES))
        return upload

    def check_stored(self, named: dict[str, int]) -> bool:
        """Every pack is in the store, whole: asked outside any transaction."""
        sizes = {pack_id: PACK_BYTES if pack_id in self.referee.objects else None for pack_id in named}
        return commits.not_stored(sizes, named) == 0

    def commit(
        self, placement: PlacementRow, upload_id: str, work: float, named: dict[str, int], now: datetime
    ) -> CheckpointRow | None:
        """Make the checkpoint exist. None: refused. The caller has passed the fence."""
        job, upload = placement.job, self.uploads[upload_id]
        if upload.closed or upload.placement_id != placement.id or upload.epoch != placement.epoch:
            self.refused += 1
            return None
        there = self.committed[job.id].get(upload_id)
        if there is not None or upload.finished:
            return there
        rows = self.packs[job.id]
        known = {
            pack_id: commits.KnownPack(row.upload_id, row.size_bytes, row.stored)
            for pack_id in named
            if (row := rows.get(pack_id))
        }
        verdict = commits.judge_commit(upload_id, named, known)
        if verdict.refusal is not None:
            self.refused += 1
            return None
        checkpoint = CheckpointRow(upload_id, upload.epoch, upload.seq, work, dict(named), now)
        self.committed[job.id][upload_id] = checkpoint
        for pack_id in verdict.fresh:
            rows[pack_id].stored = True
        for pack_id in named:
            if pack_id in rows:
                rows[pack_id].marked_at = None
        upload.finished = True
        self.referee.accepted("a checkpoint", placement.id, placement.epoch)
        self.referee.committed(upload_id, placement.id, work, named, now)
        if fencing.is_newer_checkpoint(job.checkpoint, upload.epoch, upload.seq):
            job.checkpoint_id, job.checkpoint = upload_id, (upload.epoch, upload.seq)
            placement.checkpoint_at = now
        return checkpoint

    def restore_point(self, job: JobRow) -> CheckpointRow | None:
        """What a placement starts from: the newest by (epoch, seq)."""
        points = self.committed[job.id].values()
        return max(points, key=lambda point: (point.epoch, point.seq), default=None)

    # --- retention and collection ------------------------------------------------------------------------

    def collect(self, job: JobRow, now: datetime) -> list[str]:
        """One job's turn, in one transaction under its lock. Answers the objects to delete afterwards."""
        placement = job.placement
        running_epoch = placement.epoch if placement is not None else None
        restoring = placement is not None and placement.running_at is None
        points = [
            retention.Point(row.id, row.epoch, row.seq, row.committed_at)
            for row in self.committed[job.id].values()
        ]
        for checkpoint_id in retention.expired(
            points, KEEP, now, restoring=restoring, nothing_kept_after=None
        ):
            del self.committed[job.id][checkpoint_id]
            self.referee.withdrawn(checkpoint_id)
        unfinished = [
            upload
            for upload in self.uploads.values()
            if upload.job is job and not upload.finished and not upload.closed
        ]
        newest_seq = max((upload.seq for upload in self.uploads.values() if upload.job is job), default=0)
        facts = [
            retention.UploadFacts(upload.id, upload.epoch, upload.seq, upload.opened_at)
            for upload in unfinished
        ]
        for upload_id in retention.to_close(
            facts, now, GRACE, running_epoch=running_epoch, newest_seq=newest_seq
        ):
            self.uploads[upload_id].closed = True
        still = [fact for fact in facts if not self.uploads[fact.id].closed]
        referenced = {pack_id for row in self.committed[job.id].values() for pack_id in row.packs}
        loose = [
            retention.PackFacts(row.id, row.upload_id, row.marked_at)
            for row in self.packs[job.id].values()
            if row.id not in referenced
        ]
        verdict = retention.judge_packs(
            loose,
            [fact.id for fact in still],
            [
                fact
                for fact in still
                if retention.is_open(fact, running_epoch=running_epoch, newest_seq=newest_seq)
            ],
            now,
            GRACE,
        )
        for pack_id in verdict.mark:
            self.packs[job.id][pack_id].marked_at = now
        for pack_id in verdict.take:
            del self.packs[job.id][pack_id]
        return verdict.take
