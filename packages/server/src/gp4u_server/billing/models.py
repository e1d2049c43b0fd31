"""Tables of billing."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class MeterRow(Base):
    """One booking's meter: terms, totals, and when it is next looked at."""

    __tablename__ = "meters"
    booking_id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str]
    job_name: Mapped[str]
    renter_id: Mapped[str]
    owner_id: Mapped[str]
    node_id: Mapped[str]
    node_name: Mapped[str]
    epoch: Mapped[int]
    # A standby's meter: the booking beside which it stands ready. Its time is its own: the job runs meanwhile.
    beside_booking_id: Mapped[str | None]
    currency: Mapped[str]
    rate_per_hour_micros: Mapped[int]
    owner_share_percent: Mapped[int]
    limit_micros: Mapped[int | None]  # what the job's budget leaves for this booking
    budget_total_micros: Mapped[
        int | None
    ]  # the job's whole budget: meters beside each other share what is left of it
    floor_at: Mapped[datetime | None]  # end of the job's time under earlier epochs
    holds: Mapped[int] = mapped_column(server_default="0")  # how often money was set aside
    charged_micros: Mapped[int] = mapped_column(server_default="0")
    refunded_micros: Mapped[int] = mapped_column(server_default="0")
    owner_micros: Mapped[int] = mapped_column(server_default="0")
    platform_micros: Mapped[int] = mapped_column(server_default="0")
    written_off_micros: Mapped[int] = mapped_column(server_default="0")
    billed_us: Mapped[int] = mapped_column(server_default="0")
    posted_through: Mapped[datetime | None]
    lost_from: Mapped[datetime | None]
    stop_reason: Mapped[str | None]
    next_due_at: Mapped[datetime | None]
    settle_at: Mapped[datetime | None]  # over, unsettled, and settling failed: not before then
    failures: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("rate_per_hour_micros > 0", name="rate_positive"),
        CheckConstraint("owner_share_percent BETWEEN 0 AND 100", name="share_percent"),
        CheckConstraint(
            "charged_micros >= refunded_micros AND refunded_micros >= 0 AND written_off_micros >= 0",
            name="refund_within_charge",
        ),
        CheckConstraint(
            "owner_micros + platform_micros = charged_micros - refunded_micros", name="split_exact"
        ),
        Index("ix_meters_due", "next_due_at", postgresql_where=text("next_due_at IS NOT NULL")),
        Index(
            "ix_meters_unsettled",
            "ended_at",
            postgresql_where=text("ended_at IS NOT NULL AND settled_at IS NULL"),
        ),
        Index("ix_meters_job", "job_id"),
        Index(
            "ix_meters_beside",
            "beside_booking_id",
            postgresql_where=text("beside_booking_id IS NOT NULL"),
        ),
        Index("ix_meters_owner_node", "owner_id", "node_id"),
        Index("ix_meters_renter_open", "renter_id", postgresql_where=text("settled_at IS NULL")),
    )


class UsageIntervalRow(Base):
    """Confirmed running time of a job. The database refuses two that overlap, whatever the epochs.

    Time in which a standby stood ready lies under a name of its own (`repository.timed_as`): it overlaps the job's, and of
    one job only one standby is paid at a time.
    """

    __tablename__ = "usage_intervals"
    job_id: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    booking_id: Mapped[str] = mapped_column(ForeignKey("meters.booking_id", ondelete="RESTRICT"))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("ended_at >= started_at", name="not_negative"),
        ExcludeConstraint(
            ("job_id", "="),
            (text("tstzrange(started_at, ended_at)"), "&&"),
            name="ex_usage_intervals_overlap",
            using="gist",
        ),
        Index("ix_usage_intervals_booking", "booking_id", "seq"),
    )


class PostingRow(Base):
    """One movement of money for running time, as statements list it. Negative amounts went back to the renter."""

    __tablename__ = "postings"
    transfer_id: Mapped[str] = mapped_column(primary_key=True)
    booking_id: Mapped[str] = mapped_column(ForeignKey("meters.booking_id", ondelete="RESTRICT"))
    renter_id: Mapped[str]
    owner_id: Mapped[str]
    at: Mapped[datetime]
    through: Mapped[datetime]
    why: Mapped[str]
    amount_micros: Mapped[int]
    owner_micros: Mapped[int]
    platform_micros: Mapped[int]

    __table_args__ = (
        CheckConstraint("owner_micros + platform_micros = amount_micros", name="split_exact"),
        Index("ix_postings_booking", "booking_id", "at"),
        Index("ix_postings_owner", "owner_id", "at"),
        Index("ix_postings_renter", "renter_id", "at"),
    )


class TopUpRow(Base):
    """An attempt to bring money in, written before the provider is asked."""

    __tablename__ = "top_ups"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    idempotency_key: Mapped[str | None]
    inputs_hash: Mapped[bytes] = mapped_column(LargeBinary)
    provider: Mapped[str]
    amount_micros: Mapped[int]
    currency: Mapped[str]
    state: Mapped[str]  # created, succeeded, declined
    reference: Mapped[str | None]
    decline_reason: Mapped[str | None]
    answer: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    retry_at: Mapped[datetime | None]  # set while the outcome is unknown
    settled_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        CheckConstraint("state IN ('created', 'succeeded', 'declined')", name="state"),
        CheckConstraint("amount_micros > 0", name="amount_positive"),
        Index("ix_top_ups_retry", "retry_at", postgresql_where=text("retry_at IS NOT NULL")),
    )
