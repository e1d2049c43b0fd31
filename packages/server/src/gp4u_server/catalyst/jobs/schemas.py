"""Response models of jobs, their timeline and their decisions."""

from datetime import datetime
from typing import Any

from gp4u_protocol.job_spec import JobSpec, Strict
from pydantic import Field

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
    recovery_ms: dict[str, int] | None = Field(
        default=None, description="of a failover: detect_ms, decide_ms, restore_ms, start_ms, recovery_ms"
    )


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
