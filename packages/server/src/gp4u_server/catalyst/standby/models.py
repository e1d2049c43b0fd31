"""Tables of standbys. Private to this folder."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base

LIVE = "state <> 'ended'"


class Standby(Base):
    """One node that stands by for a job. Changed only while the job's row is locked.

    `proven_at`: when it was last seen to be able to take the job over. `behind_since`: when the oldest checkpoint was
    committed that it does not hold. `settled_at`: when its meter was ended.
    """

    __tablename__ = "standbys"
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"))
    number: Mapped[int]
    booking_id: Mapped[str]
    offer_id: Mapped[str]
    node_id: Mapped[str]
    node_name: Mapped[str]
    region: Mapped[str]
    gpu_model: Mapped[str]
    gpus: Mapped[int]
    rate_per_hour_micros: Mapped[int]
    state: Mapped[str]
    reason: Mapped[str | None]
    prepared: Mapped[bool] = mapped_column(server_default=text("false"))
    problem: Mapped[str | None]
    chosen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ready_since: Mapped[datetime | None]
    proven_at: Mapped[datetime | None]
    behind_since: Mapped[datetime | None]
    held_checkpoint_id: Mapped[str | None]
    held_epoch: Mapped[int | None]
    held_seq: Mapped[int | None]
    held_at: Mapped[datetime | None]
    bytes_held: Mapped[int] = mapped_column(server_default="0")
    fetched_bytes: Mapped[int] = mapped_column(server_default="0")
    ended_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("job_id", "number", name="uq_standbys_job_id_number"),
        CheckConstraint("state IN ('preparing', 'ready', 'ended')", name="state_known"),
        CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name="ended_has_an_end"),
        CheckConstraint("(state = 'ended') = (reason IS NOT NULL)", name="ended_has_a_reason"),
        CheckConstraint("(state = 'ready') = (ready_since IS NOT NULL)", name="ready_has_an_instant"),
        CheckConstraint("rate_per_hour_micros > 0", name="rate_positive"),
        Index("uq_standbys_live", "job_id", unique=True, postgresql_where=text(LIVE)),
        Index("ix_standbys_node_live", "node_id", postgresql_where=text(LIVE)),
        Index(
            "ix_standbys_unsettled",
            "job_id",
            postgresql_where=text("state = 'ended' AND settled_at IS NULL"),
        ),
    )


class StandbyWatch(Base):
    """A hot job that is looked at when due. In the order of locks it comes last of all."""

    __tablename__ = "standby_watches"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"), primary_key=True)
    next_at: Mapped[datetime]
    failures: Mapped[int] = mapped_column(server_default="0")
    why_none: Mapped[str | None]

    __table_args__ = (Index("ix_standby_watches_next", "next_at"),)
