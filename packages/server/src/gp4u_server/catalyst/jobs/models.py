"""Tables of jobs. Private to this folder."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, LargeBinary, func, text
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base

_LIVE = "state <> 'ended'"
_FINAL = "('done', 'failed', 'stopped')"


class Job(Base):
    """One job. `epoch` is the fence: 0 before the first placement, then that of the newest one."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    renter_id: Mapped[str]
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    offer_id: Mapped[str | None]
    state: Mapped[str]
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    exit_code: Mapped[int | None]
    epoch: Mapped[int] = mapped_column(server_default="0")
    data_key: Mapped[bytes] = mapped_column(LargeBinary)
    stop_reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    next_attempt_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    start_failures: Mapped[int] = mapped_column(server_default="0")
    # Nothing reads or writes it any more; the release before this one does, so it goes with the next.
    excluded_node_ids: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    checkpoint_id: Mapped[str | None]
    checkpoint_epoch: Mapped[int | None]
    checkpoint_seq: Mapped[int | None]
    checkpoint_at: Mapped[datetime | None]
    checkpoints_count: Mapped[int] = mapped_column(server_default="0")
    progress: Mapped[dict[str, Any] | None]
    charged_micros: Mapped[int] = mapped_column(server_default="0")
    refunded_micros: Mapped[int] = mapped_column(server_default="0")
    run_us: Mapped[int] = mapped_column(server_default="0")
    log_bytes: Mapped[int] = mapped_column(server_default="0")
    last_beat_at: Mapped[datetime | None]
    lost_at: Mapped[datetime | None]
    stop_asked_at: Mapped[datetime | None]  # a bill asked for the stop, which begins in its own transaction
    moves: Mapped[int] = mapped_column(server_default="0")
    checkpoint_cost_ms: Mapped[int | None]  # how long its checkpoints take, smoothed
    preemptions: Mapped[int] = mapped_column(server_default="0")  # in a row, see decisions.preemption_pause_s
    preempted_at: Mapped[datetime | None]
    held_back_until: Mapped[datetime | None]  # capacity that comes free does not wake it before
    waiting: Mapped[dict[str, Any] | None]  # why it is not placed, and what would free it

    __table_args__ = (
        CheckConstraint("epoch >= 0", name="epoch_grows_from_zero"),
        CheckConstraint(f"(state IN {_FINAL}) = (ended_at IS NOT NULL)", name="final_has_an_end"),
        Index("ix_jobs_renter", "renter_id", text("id DESC")),
        Index(
            "ix_jobs_due",
            "next_attempt_at",
            postgresql_where=text("state IN ('queued', 'recovering')"),
        ),
        Index("ix_jobs_open", "id", postgresql_where=text(f"state NOT IN {_FINAL}")),
        Index("ix_jobs_stop_asked", "stop_asked_at", postgresql_where=text("stop_asked_at IS NOT NULL")),
    )


class Placement(Base):
    """One job on one node. What the node is called is kept as it was, for the job's page."""

    __tablename__ = "placements"
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"))
    epoch: Mapped[int]
    state: Mapped[str]
    outcome: Mapped[str | None]
    reason: Mapped[str | None]
    node_id: Mapped[str]
    node_name: Mapped[str]
    region: Mapped[str]
    simulated: Mapped[bool]
    gpu_model: Mapped[str]
    device_uuids: Mapped[list[str]]
    offer_id: Mapped[str]
    booking_id: Mapped[str]
    rate_per_hour_micros: Mapped[int]
    desired: Mapped[str] = mapped_column(server_default="run")
    stop_reason: Mapped[str | None]
    stop_requested_at: Mapped[datetime | None]
    restore_checkpoint_id: Mapped[str | None]
    restore_epoch: Mapped[int | None]
    restore_seq: Mapped[int | None]
    transparent: Mapped[bool] = mapped_column(server_default=text("false"))  # saved, and restored, whole
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    claimed_at: Mapped[datetime | None]
    running_at: Mapped[datetime | None]
    metered_from: Mapped[datetime | None]
    interrupted_at: Mapped[datetime | None]
    checkpoint_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    report_seq: Mapped[int] = mapped_column(server_default="0")
    log_next_offset: Mapped[int] = mapped_column(server_default="0")
    recovery: Mapped[dict[str, Any] | None]
    checkpoint_interval: Mapped[dict[str, Any] | None]
    arriving: Mapped[dict[str, Any] | None]  # lazy files of its checkpoint that follow after the start
    moving_reason: Mapped[str | None]  # leaves in order to go on elsewhere, and why
    notice_reason: Mapped[str | None]
    notice_at: Mapped[datetime | None]
    notice_deadline_at: Mapped[datetime | None]
    stop_due_at: Mapped[datetime | None]  # has notice, and is told to stop then
    settle_at: Mapped[datetime | None]  # lost, and neither GPUs nor money are given back yet: due then

    __table_args__ = (
        CheckConstraint(f"({_LIVE}) = (ended_at IS NULL)", name="ended_has_an_end"),
        CheckConstraint(f"({_LIVE}) = (outcome IS NULL)", name="ended_has_an_outcome"),
        Index("uq_placements_job_epoch", "job_id", "epoch", unique=True),
        Index("uq_placements_live", "job_id", unique=True, postgresql_where=text(_LIVE)),
        Index("ix_placements_node_live", "node_id", postgresql_where=text(_LIVE)),
        Index("ix_placements_booking", "booking_id"),
        Index("ix_placements_unsettled", "settle_at", postgresql_where=text("settle_at IS NOT NULL")),
        Index("ix_placements_stop_due", "stop_due_at", postgresql_where=text("stop_due_at IS NOT NULL")),
    )


class JobEventRow(Base):
    """One timeline entry. Written only while the job's row is locked, so ids of a job commit in order."""

    __tablename__ = "job_events"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"))
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    kind: Mapped[str]
    epoch: Mapped[int | None]
    title: Mapped[str]
    detail: Mapped[dict[str, Any]]
    ms: Mapped[int | None]
    cost_micros: Mapped[int | None]

    __table_args__ = (Index("ix_job_events_job", "job_id", "id"),)


class JobLogChunk(Base):
    """Output of a job: `text` starts at byte `start_offset` of everything the job ever wrote."""

    __tablename__ = "job_log_chunks"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"), primary_key=True)
    start_offset: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    end_offset: Mapped[int]
    placement_id: Mapped[str]
    text: Mapped[str]
