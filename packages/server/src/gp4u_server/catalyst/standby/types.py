"""States of standbys, and what other modules see of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class StandbyState(StrEnum):
    PREPARING = "preparing"  # fetching, or not proven ready at present; costs nothing
    READY = "ready"  # holds the newest checkpoint, and its GPUs are free; costs its rate
    ENDED = "ended"


class EndReason(StrEnum):
    """Why a standby ended."""

    USED = "used"  # the job was moved to it
    PASSED_OVER = "passed_over"  # the job was placed elsewhere
    JOB_ENDED = "job_ended"
    NODE_GONE = "node_gone"  # lost, drained, withdrawn from the market
    GPUS_TAKEN = "gpus_taken"  # somebody booked what it would have run on
    NOT_PREPARED = "not_prepared"  # the node could not fetch or keep what the job needs


@dataclass(frozen=True)
class StandbyTerms:
    """The platform's numbers for standbys.

    Attributes:
        rate_bps: what standing by costs, in basis points of what the node's GPUs cost when the job runs there.
    """

    rate_bps: int = 500


@dataclass(frozen=True)
class StandbyView:
    """A standby as the job's renter sees it. `checkpoint_seq`: of the checkpoint that is held complete."""

    id: str
    node_id: str
    node_name: str
    region: str
    gpu_model: str
    state: StandbyState
    rate_per_hour_micros: int
    chosen_at: datetime
    ready_since: datetime | None
    checkpoint_id: str | None
    checkpoint_seq: int | None
    checkpoint_at: datetime | None
    bytes_held: int
    problem: str | None


@dataclass(frozen=True)
class StandbyStatus:
    """How a hot job stands. `why_none`: what it lacks, for people, while it has only ordinary protection."""

    standby: StandbyView | None
    why_none: str | None
