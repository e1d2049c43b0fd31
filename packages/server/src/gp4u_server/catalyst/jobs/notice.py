"""Notice with a deadline: why a run has to leave its node, and when it is told to stop for it. Pure.

One contract for whatever makes a job leave: its owner drains the node, a maintenance window begins, one of its GPUs failed, or
an on-demand job needs the GPUs of an interruptible one. The job is told (reason, deadline), runs on, and is asked to stop
so long before the deadline that its grace and a final checkpoint fit in. A job that answers with a checkpoint of its own is
asked to stop at once: there is nothing left to wait for.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gp4u_protocol.job_spec import BookingKind


class NoticeReason(StrEnum):
    """Why a run has to leave its node. The first that holds is what the job is told."""

    DEVICE = "device"  # one of its GPUs failed
    DRAIN = "drain"  # the owner takes the node out of service
    MAINTENANCE = "maintenance"  # a maintenance window of the node begins
    PREEMPTION = "preemption"  # an on-demand job needs the GPUs


GRACE_S = 30.0
"""From SIGTERM to the final checkpoint, where the deadline leaves time for it."""
GRACE_S_MIN = 5.0
UNKNOWN_COST_S = 10.0
"""What a final checkpoint is taken to last before one was measured."""
STOP_LEAD_S_MAX = 600.0
WINDOW_LEAD_S_MAX = 900.0


@dataclass(frozen=True)
class LiveRun:
    """A run as those see it who decide whether it has to leave. `ends_by`: its own longest duration is over then."""

    job_id: str
    placement_id: str
    node_id: str
    device_uuids: tuple[str, ...]
    kind: BookingKind
    rate_per_hour_micros: int
    created_at: datetime
    ends_by: datetime
    checkpoint_cost_s: float | None
    notice_reason: NoticeReason | None
    is_stopping: bool

    @property
    def rate_per_gpu_micros(self) -> int:
        """Micro-units per GPU and hour, rounded down."""
        return self.rate_per_hour_micros // max(1, len(self.device_uuids))


def stop_lead_s(checkpoint_cost_s: float | None) -> float:
    """How long before its deadline a job is told to stop: its grace, and twice what its checkpoints take."""
    cost_s = UNKNOWN_COST_S if checkpoint_cost_s is None else checkpoint_cost_s
    return min(STOP_LEAD_S_MAX, GRACE_S + 2 * cost_s)


def window_lead_s(checkpoint_cost_s: float | None, notice_s: float) -> float:
    """How long before a maintenance window its jobs are given notice: the notice, and the time to stop."""
    return min(WINDOW_LEAD_S_MAX, notice_s + stop_lead_s(checkpoint_cost_s))


def stop_due_at(now: datetime, deadline_at: datetime, checkpoint_cost_s: float | None) -> datetime:
    """When the job is told to stop, not before `now`."""
    return max(now, deadline_at - timedelta(seconds=stop_lead_s(checkpoint_cost_s)))


def grace_s(stop_at: datetime, deadline_at: datetime | None, checkpoint_cost_s: float | None) -> int:
    """Seconds that the job gets from SIGTERM on: what the deadline leaves beside its final checkpoint, 5 to 30."""
    if deadline_at is None:
        return round(GRACE_S)
    cost_s = UNKNOWN_COST_S if checkpoint_cost_s is None else checkpoint_cost_s
    left_s = (deadline_at - stop_at).total_seconds() - 2 * cost_s
    return round(min(GRACE_S, max(GRACE_S_MIN, left_s)))


def smoothed_cost_ms(before_ms: int | None, measured_ms: int) -> int:
    """What a checkpoint of the job is expected to take: up at once, down slowly, for a stop must not begin too late."""
    if before_ms is None or measured_ms >= before_ms:
        return measured_ms
    return round(0.7 * before_ms + 0.3 * measured_ms)


PREEMPTION_PAUSES_S = (0.0, 900.0, 3600.0)
PREEMPTION_FORGIVEN_AFTER = timedelta(hours=6)


def preemptions_now(before: int, last_at: datetime | None, now: datetime) -> int:
    """How many preemptions in a row the one at `now` makes; six hours without one begin anew."""
    return (0 if last_at is None or now - last_at >= PREEMPTION_FORGIVEN_AFTER else before) + 1


def preemption_pause_s(preemptions: int) -> float:
    """How long a preempted job waits before it is placed again: at once the first time, then after 15 minutes, then an hour.

    So it leaves at most three nodes in an hour, however the market swings (H24).
    """
    return PREEMPTION_PAUSES_S[min(max(preemptions, 1), len(PREEMPTION_PAUSES_S)) - 1]
