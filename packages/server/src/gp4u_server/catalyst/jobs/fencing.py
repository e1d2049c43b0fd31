"""Who may still write, and what is newer. Pure; the simulation runs this very code.

Every caller holds the job's row, so the answer stands until its transaction ends.
"""

from enum import StrEnum

PLACEABLE = frozenset({"queued", "recovering"})
"""States in which a job waits for a placement."""


def is_current(epoch: int, *, placement_epoch: int, job_epoch: int, ended: bool) -> bool:
    """Whether a write under `epoch` counts: the placement is of that epoch, it is the job's newest, and it is live."""
    return placement_epoch == epoch and job_epoch == epoch and not ended


class ReportFate(StrEnum):
    """What becomes of a report."""

    STALE = "stale"  # changes nothing; the node kills what is left
    REPEATED = "repeated"  # acknowledged again, without effect
    APPLY = "apply"
    FINISHED = "finished"  # the run was given up, but nothing runs in its place, and its result is complete: the job is done


def judge_report(
    epoch: int,
    seq: int,
    *,
    placement_epoch: int,
    job_epoch: int,
    ended: bool,
    last_seq: int,
    finishes: bool = False,
) -> ReportFate:
    """A report of `epoch` with number `seq`; `last_seq` is the highest that was applied.

    A repetition is acknowledged even after the end, or the node would send the end's report for ever. `finishes`: it says
    that the job exited 0 with everything saved, and the job still waits to go on elsewhere. Its epoch is the job's own, so
    no other run has begun: a move never loses a finished result, however late its report arrives.
    """
    if placement_epoch != epoch or job_epoch != epoch:
        return ReportFate.STALE
    if seq <= last_seq:
        return ReportFate.REPEATED
    if not ended:
        return ReportFate.APPLY
    return ReportFate.FINISHED if finishes else ReportFate.STALE


def is_newer_checkpoint(newest: tuple[int, int] | None, epoch: int, seq: int) -> bool:
    """Whether (epoch, seq) becomes the restore point. A commit that was overtaken by a newer one changes nothing."""
    return newest is None or (epoch, seq) > newest


def next_epoch(epoch: int, base: int) -> int:
    """The number of the next placement: above the job's newest, and above all that a life of the database before a restore
    from a backup gave out (`foundation.incarnation`)."""
    return max(epoch, base) + 1


def may_place(state: str, *, seen_epoch: int, epoch: int) -> bool:
    """Whether a job that was read at `seen_epoch` may get its next placement now."""
    return state in PLACEABLE and seen_epoch == epoch
