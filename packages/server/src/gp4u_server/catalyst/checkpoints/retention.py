"""Which checkpoints stay and which packs may go. Pure: facts and instants in, ids out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class KeepRule:
    """How many checkpoints of a job stay: the newest `last`, and the newest of each of the `hourly` last hours that
    have one."""

    last: int
    hourly: int

    def __post_init__(self) -> None:
        if self.last < 1 or self.hourly < 0:
            raise ValueError("a job keeps at least its newest checkpoint")


@dataclass(frozen=True)
class Point:
    """One checkpoint, as far as keeping it goes. `held`: pinned by the renter, or a fork has not started from it yet."""

    id: str
    epoch: int
    seq: int
    committed_at: datetime
    held: bool = False
    damaged: bool = False


def expired(
    points: Sequence[Point],
    rule: KeepRule,
    now: datetime,
    *,
    restoring: bool,
    nothing_kept_after: datetime | None,
) -> list[str]:
    """Ids of the checkpoints that go.

    Args:
        points: every checkpoint of one job, in any order.
        restoring: a node is bringing the job back now; whichever it reads must not vanish under it.
        nothing_kept_after: from this instant on only held ones stay (the job ended long before it).

    A damaged checkpoint counts for nothing: behind it the next `last` sound ones are kept all the same, and it stays
    itself as long as it is newer than they are (another node may still read it well). So the newest one always stays.
    Only newer checkpoints push out older ones, time alone does not: a job that waits for weeks loses nothing.
    """
    if restoring:
        return []
    newest_first = sorted(points, key=lambda point: (point.epoch, point.seq), reverse=True)
    if nothing_kept_after is not None and now >= nothing_kept_after:
        return [point.id for point in newest_first if not point.held]
    sound_seen = 0
    hours: set[datetime] = set()
    going = []
    for point in newest_first:
        is_recent = sound_seen < rule.last
        is_hourly = False
        if not point.damaged:
            sound_seen += 1
            hour = point.committed_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
            if hour not in hours and len(hours) < rule.hourly:
                hours.add(hour)
                is_hourly = True
        if not (is_recent or is_hourly or point.held):
            going.append(point.id)
    return going


@dataclass(frozen=True)
class UploadFacts:
    """One upload that has neither become a checkpoint nor been closed."""

    id: str
    epoch: int
    seq: int
    opened_at: datetime


def is_open(upload: UploadFacts, *, running_epoch: int | None, newest_seq: int) -> bool:
    """Whether an upload can still become a checkpoint: its epoch holds the job, and nothing newer was begun.

    Args:
        running_epoch: epoch of the job's live placement; None when there is none.
        newest_seq: number of the job's newest upload.
    """
    return upload.epoch == running_epoch and upload.seq == newest_seq


def to_close(
    uploads: Sequence[UploadFacts],
    now: datetime,
    grace: timedelta,
    *,
    running_epoch: int | None,
    newest_seq: int,
) -> list[str]:
    """Ids of uploads that were given up: not open any more, and begun more than the grace period ago."""
    return [
        upload.id
        for upload in uploads
        if not is_open(upload, running_epoch=running_epoch, newest_seq=newest_seq)
        and now - upload.opened_at >= grace
    ]


@dataclass(frozen=True)
class PackFacts:
    """One pack that no checkpoint names. `marked_at`: when that was first seen."""

    id: str
    upload_id: str
    marked_at: datetime | None


@dataclass(frozen=True)
class PackVerdict:
    """Packs to mark, and packs that go."""

    mark: list[str]
    take: list[str]


def judge_packs(
    packs: Sequence[PackFacts],
    unfinished: Collection[str],
    open_uploads: Sequence[UploadFacts],
    now: datetime,
    grace: timedelta,
) -> PackVerdict:
    """What happens to unreferenced packs: nothing while an upload may want them, then two marks `grace` apart.

    Args:
        packs: packs of one job that no checkpoint names.
        unfinished: uploads neither finished nor closed, open or not: what they announced is spared.
        open_uploads: those that can still commit. One that began before a pack was marked may know that pack from the
            checkpoint it builds on, and is waited for.
    """
    oldest_open = min((upload.opened_at for upload in open_uploads), default=None)
    mark, take = [], []
    for pack in packs:
        if pack.upload_id in unfinished:
            continue
        if pack.marked_at is None:
            mark.append(pack.id)
        elif oldest_open is not None and oldest_open <= pack.marked_at:
            continue
        elif now - pack.marked_at >= grace:
            take.append(pack.id)
    return PackVerdict(mark, take)
