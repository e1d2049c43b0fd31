"""Tables of bookings."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class BookingRow(Base):
    """One contract. What the node and its GPUs were called is kept as it was when they were booked."""

    __tablename__ = "bookings"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    state: Mapped[str]
    renter_id: Mapped[str]
    owner_id: Mapped[str]
    job_id: Mapped[str]
    offer_id: Mapped[str]
    node_id: Mapped[str]
    node_name: Mapped[str]
    gpu_model: Mapped[str]
    rate_per_hour_micros: Mapped[int]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    check_at: Mapped[datetime] = mapped_column(server_default=func.now())  # when the sweep looks at it next
    check_failures: Mapped[int] = mapped_column(server_default="0")

    __table_args__ = (
        CheckConstraint("rate_per_hour_micros > 0", name="rate_positive"),
        CheckConstraint("state IN ('held', 'active', 'ended')", name="state_known"),
        CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name="ended_has_an_end"),
        Index("ix_bookings_renter", "renter_id", text("id DESC")),
        Index("ix_bookings_job", "job_id"),
        # Nothing reads it any more; the release before this one does, so it goes with the next.
        Index("ix_bookings_live", "starts_at", postgresql_where=text("state <> 'ended'")),
        Index("ix_bookings_check", "check_at", postgresql_where=text("state <> 'ended'")),
        Index("ix_bookings_renter_state", "renter_id", "state", text("id DESC")),
    )


class BookingDeviceRow(Base):
    """One GPU of a booking. While `live`, no other live row of the GPU may overlap `during`."""

    __tablename__ = "booking_devices"
    booking_id: Mapped[str] = mapped_column(ForeignKey("bookings.id", ondelete="RESTRICT"), primary_key=True)
    device_id: Mapped[str] = mapped_column(primary_key=True)
    during: Mapped[Range[Any]] = mapped_column(TSTZRANGE)
    live: Mapped[bool]

    __table_args__ = (
        ExcludeConstraint(
            ("device_id", "="),
            ("during", "&&"),
            name="ex_booking_devices_overlap",
            using="gist",
            where=text("live"),
        ),
        CheckConstraint("NOT isempty(during)", name="during_not_empty"),
    )
