"""Frozen views of jobs and placements: what other modules see of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gp4u_protocol.job_spec import JobSpec
from gp4u_protocol.messages import DesiredRun, Notice, PlacementSpec, RestorePoint

from gp4u_server.catalyst.jobs import fencing
from gp4u_server.catalyst.jobs.models import Job, Placement
from gp4u_server.catalyst.jobs.notice import grace_s
from gp4u_server.catalyst.jobs.types import JobState, Outcome, PlacementState


@dataclass(frozen=True)
class JobView:
    """A job. `epoch` is that of its newest placement, 0 before the first."""

    id: str
    renter_id: str
    name: str
    spec: JobSpec
    offer_id: str | None
    state: JobState
    reason: str | None
    detail: str | None
    exit_code: int | None
    epoch: int
    stop_reason: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    next_attempt_at: datetime | None
    attempts: int
    restore: RestorePoint | None
    checkpoint_at: datetime | None
    checkpoints_count: int
    progress: dict[str, Any] | None
    charged_micros: int
    refunded_micros: int
    run_us: int
    log_bytes: int
    last_beat_at: datetime | None
    lost_at: datetime | None
    preempted_at: datetime | None = None
    epoch_base: int = 0
    """Epochs from here on lie above it; told to whoever is about to place the job."""

    @property
    def next_epoch(self) -> int:
        """That of its next placement."""
        return fencing.next_epoch(self.epoch, self.epoch_base)


@dataclass(frozen=True)
class PlacementView:
    """One job on one node under one booking."""

    id: str
    job_id: str
    renter_id: str
    epoch: int
    state: PlacementState
    outcome: Outcome | None
    reason: str | None
    node_id: str
    node_name: str
    region: str
    simulated: bool
    gpu_model: str
    device_uuids: tuple[str, ...]
    offer_id: str
    booking_id: str
    rate_per_hour_micros: int
    desired: DesiredRun
    created_at: datetime
    claimed_at: datetime | None
    running_at: datetime | None
    interrupted_at: datetime | None
    checkpoint_at: datetime | None
    ended_at: datetime | None
    recovery: dict[str, int] | None
    arriving: bool = False
    """Lazy files of the checkpoint that it restores have not all arrived."""


@dataclass(frozen=True)
class Setback:
    """A run of a job that a node lost or could not start, and when it ended."""

    node_id: str
    at: datetime


def job_view(job: Job) -> JobView:
    """The public view of a row."""
    restore = None
    if job.checkpoint_id is not None and job.checkpoint_epoch is not None and job.checkpoint_seq is not None:
        restore = RestorePoint(
            checkpoint_id=job.checkpoint_id, epoch=job.checkpoint_epoch, seq=job.checkpoint_seq
        )
    return JobView(
        id=job.id,
        renter_id=job.renter_id,
        name=job.name,
        spec=JobSpec.model_validate(job.spec),
        offer_id=job.offer_id,
        state=JobState(job.state),
        reason=job.reason,
        detail=job.detail,
        exit_code=job.exit_code,
        epoch=job.epoch,
        stop_reason=job.stop_reason,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        next_attempt_at=job.next_attempt_at,
        attempts=job.attempts,
        restore=restore,
        checkpoint_at=job.checkpoint_at,
        checkpoints_count=job.checkpoints_count,
        progress=job.progress,
        charged_micros=job.charged_micros,
        refunded_micros=job.refunded_micros,
        run_us=job.run_us,
        log_bytes=job.log_bytes,
        last_beat_at=job.last_beat_at,
        lost_at=job.lost_at,
        preempted_at=job.preempted_at,
    )


def placement_view(placement: Placement, renter_id: str) -> PlacementView:
    """The public view of a row."""
    return PlacementView(
        id=placement.id,
        job_id=placement.job_id,
        renter_id=renter_id,
        epoch=placement.epoch,
        state=PlacementState(placement.state),
        outcome=Outcome(placement.outcome) if placement.outcome else None,
        reason=placement.reason,
        node_id=placement.node_id,
        node_name=placement.node_name,
        region=placement.region,
        simulated=placement.simulated,
        gpu_model=placement.gpu_model,
        device_uuids=tuple(placement.device_uuids),
        offer_id=placement.offer_id,
        booking_id=placement.booking_id,
        rate_per_hour_micros=placement.rate_per_hour_micros,
        desired=DesiredRun(placement.desired),
        created_at=placement.created_at,
        claimed_at=placement.claimed_at,
        running_at=placement.running_at,
        interrupted_at=placement.interrupted_at,
        checkpoint_at=placement.checkpoint_at,
        ended_at=placement.ended_at,
        recovery=placement.recovery,
        arriving=placement.arriving is not None and placement.arriving["done_at"] is None,
    )


def placement_spec(job: Job, placement: Placement, now: datetime) -> PlacementSpec:
    """What the agent is told at `now`. Everything it needs, nothing of the renter's person or money."""
    spec = JobSpec.model_validate(job.spec)
    restore = None
    if (
        placement.restore_checkpoint_id is not None
        and placement.restore_epoch is not None
        and placement.restore_seq is not None
    ):
        restore = RestorePoint(
            checkpoint_id=placement.restore_checkpoint_id,
            epoch=placement.restore_epoch,
            seq=placement.restore_seq,
        )
    interval = placement.checkpoint_interval or {}
    return PlacementSpec(
        placement_id=placement.id,
        job_id=job.id,
        epoch=placement.epoch,
        desired=DesiredRun(placement.desired),
        stop_reason=placement.stop_reason,
        job_name=job.name,
        command=spec.command,
        image=spec.image,
        environment=dict(spec.environment),
        device_uuids=list(placement.device_uuids),
        cpus=spec.resources.cpus,
        memory_mb=spec.resources.memory_gb * 1024,
        disk_mb=spec.resources.disk_gb * 1024,
        network=spec.resources.network,
        checkpoint_path=spec.checkpoint.path,
        checkpoint_every_s=max(1, round(interval.get("every_s", spec.checkpoint.every_s))),
        checkpoint_verify=spec.checkpoint.verify,
        checkpoint_lazy=list(spec.checkpoint.lazy),
        checkpoint_hazard_per_hour=interval.get("hazard_per_hour"),
        transparent=placement.transparent,
        upload_id=spec.upload_id,
        restore=restore,
        stop_grace_s=grace_s(
            placement.stop_requested_at or now,
            placement.notice_deadline_at,
            None if job.checkpoint_cost_ms is None else job.checkpoint_cost_ms / 1000,
        ),
        notice=_notice(spec, placement, now),
    )


def _notice(spec: JobSpec, placement: Placement, now: datetime) -> Notice | None:
    if placement.notice_deadline_at is None or placement.notice_reason is None:
        return None
    signal = spec.failover.notice_signal
    return Notice(
        reason=placement.notice_reason,
        sentence=placement.moving_reason or "",
        deadline_at=placement.notice_deadline_at,
        seconds_left=round((placement.notice_deadline_at - now).total_seconds(), 3),
        signal=None if signal is None else signal.value,
    )
