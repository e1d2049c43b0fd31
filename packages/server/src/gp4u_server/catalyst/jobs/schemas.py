"""Response models of jobs, their timeline and their decisions."""

from datetime import datetime
from typing import Any

from gp4u_protocol.job_spec import JobSpec, Strict
from gp4u_protocol.promise import Promise
from pydantic import Field

from gp4u_server.catalyst.jobs.notice import NoticeReason
from gp4u_server.catalyst.jobs.types import EventKind, JobState, PlacementState


class ProgressOut(Strict):
    step: int
    total_steps: int | None
    metrics: dict[str, float]


class CheckpointIntervalOut(Strict):
    """The interval that `checkpoint.auto` chose, and from what."""

    every_s: float = Field(
        description="seconds between the end of one checkpoint and the beginning of the next"
    )
    cost_s: float | None = Field(
        description="seconds that a checkpoint takes, as measured; null: not yet known"
    )
    hazard_per_hour: float = Field(description="losses of the node an hour, as expected when it was chosen")


class NoticeOut(Strict):
    """The job has to leave its node: it was told, and is asked to stop in time for the deadline."""

    reason: NoticeReason
    sentence: str
    given_at: datetime
    deadline_at: datetime
    stops_at: datetime | None = Field(description="when it is told to stop; null: it was")


class HintOut(Strict):
    """One thing that would free a job that waits."""

    kind: str = Field(
        description="price, window, kind, pool, busy, node, making_room, resources, nobody: stable"
    )
    sentence: str
    at: datetime | None = Field(default=None, description="when it comes by itself, at the latest")


class WaitingOut(Strict):
    """Why the job is not placed. It is not billed, and is tried again at `next_attempt_at` or when something comes free."""

    summary: str
    hints: list[HintOut]
    next_attempt_at: datetime | None
    held_back_until: datetime | None = Field(
        default=None, description="it keeps a pause until then, after moves or starts that failed in a row"
    )


class ArrivingOut(Strict):
    """Files of `checkpoint.lazy` that the job started without."""

    files: int = Field(description="that had not arrived when the node last said so; 0: all are there")
    bytes: int
    bytes_total: int = Field(description="of the whole checkpoint")
    since: datetime
    done_at: datetime | None = Field(description="when all were there")


class PlacementOut(Strict):
    id: str
    epoch: int
    state: PlacementState
    outcome: str | None
    node_id: str
    node_name: str
    gpu_model: str
    gpus: int
    region: str
    simulated: bool
    booking_id: str
    rate_per_hour_micros: int
    created_at: datetime
    running_at: datetime | None
    ended_at: datetime | None
    checkpoint_interval: CheckpointIntervalOut | None = Field(
        default=None, description="of a job whose interval is automatic"
    )
    arriving: ArrivingOut | None = Field(
        default=None, description="of a job that started before all files of its checkpoint were there"
    )
    notice: NoticeOut | None = Field(default=None, description="while it has to leave its node")
    recovery_ms: dict[str, int] | None = Field(
        default=None, description="of a failover: detect_ms, decide_ms, restore_ms, start_ms, recovery_ms"
    )


class StandbyOut(Strict):
    """The second node of a hot job (`protection: hot`)."""

    id: str | None = None
    state: str = Field(
        description="preparing: fetching, or not proven ready, and costs nothing; ready: holds the newest checkpoint and "
        "has the GPUs free; none: no node can stand by at present, and the job has ordinary protection"
    )
    why_none: str | None = Field(default=None, description="a sentence for people")
    node_id: str | None = None
    node_name: str | None = None
    region: str | None = None
    gpu_model: str | None = None
    rate_per_hour_micros: int | None = Field(
        default=None, description="what it costs while it is ready, on top of the job's own rate"
    )
    chosen_at: datetime | None = None
    ready_since: datetime | None = None
    checkpoint_id: str | None = Field(default=None, description="the checkpoint that it holds complete")
    checkpoint_seq: int | None = None
    held_at: datetime | None = Field(default=None, description="when it last said what it holds")
    bytes_held: int = 0
    problem: str | None = None


class JobOut(Strict):
    id: str
    name: str
    state: JobState
    reason: str | None = Field(
        description="stable code: exit_1, node_lost, wallet_empty, budget_reached, by_renter, …"
    )
    detail: str | None = Field(description="a sentence for people")
    exit_code: int | None
    spec: JobSpec
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    placement: PlacementOut | None = Field(description="the newest placement")
    placements_count: int
    last_checkpoint_at: datetime | None
    checkpoints_count: int
    progress: ProgressOut | None
    waiting: WaitingOut | None = Field(default=None, description="of a job that waits for a node")
    standby: StandbyOut | None = Field(default=None, description="of a job with `protection: hot`")
    promise: Promise = Field(description="what it gets when its node dies, and why not more")
    charged_micros: int
    refunded_micros: int
    running_s: float


class JobEventOut(Strict):
    """One entry of the timeline. `id` only grows; pass it as Last-Event-ID to go on from there."""

    id: int
    at: datetime
    kind: EventKind
    epoch: int | None
    title: str
    detail: dict[str, Any]
    ms: int | None = Field(description="how long the step took, where that means something")
    cost_micros: int | None = Field(description="charged so far when it happened")


class LogPageOut(Strict):
    text: str
    next_offset: int
    ended: bool


class CandidateOut(Strict):
    """One candidate of a routing decision, with every number that counted."""

    offer_id: str
    node_id: str
    node_name: str
    gpu_model: str
    region: str
    chosen: bool
    excluded_because: str | None
    rate_per_hour_micros: int
    expected_run_s: float | None
    hazard_per_hour: float | None
    expected_loss_micros: int | None
    data_movement_micros: int | None
    setback_micros: int | None = Field(
        default=None, description="what it weighs that runs of this job failed on this node lately"
    )
    expected_cost_micros: int | None


class DecisionOut(Strict):
    id: str
    epoch: int
    at: datetime
    took_ms: float
    summary: str
    candidates_count: int = Field(description="offers looked at; `candidates` holds at most 50 of them")
    failed_counts: dict[str, int] = Field(description="hard limit → how many offers failed it")
    candidates: list[CandidateOut]


class MetricsPointOut(Strict):
    """Pushed over SSE as event `metrics`."""

    at: datetime
    cpu_percent: float
    memory_mb: float
    gpu_utilisation_percent: float | None
    step: int | None
    total_steps: int | None
    metrics: dict[str, float]
