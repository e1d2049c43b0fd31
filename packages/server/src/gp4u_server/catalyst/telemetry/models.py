"""Tables of telemetry. Private to this folder. The three of readings are partitioned by time (see `partitions`)."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, text
from sqlalchemy.dialects.postgresql import ARRAY, REAL
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base

_BY_TIME = {"postgresql_partition_by": "RANGE (at)"}


class Sample(Base):
    """One sample of a node (`device_uuid` is empty) or of one of its devices; `values` by position (see `metrics`)."""

    __tablename__ = "telemetry_10s"
    # By time first: summing up reads what is new of all nodes. The index is for a page that shows one of them.
    at: Mapped[datetime] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(primary_key=True)
    device_uuid: Mapped[str] = mapped_column(primary_key=True)
    values: Mapped[list[float | None]] = mapped_column(ARRAY(REAL))

    __table_args__ = (Index("ix_telemetry_10s_series", "node_id", "device_uuid", "at"), _BY_TIME)


class Minute(Base):
    """All samples of one minute, which begins at `at`: how many there were of each reading, their mean and bounds."""

    __tablename__ = "telemetry_1m"
    at: Mapped[datetime] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(primary_key=True)
    device_uuid: Mapped[str] = mapped_column(primary_key=True)
    counts: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    means: Mapped[list[float | None]] = mapped_column(ARRAY(REAL))
    lows: Mapped[list[float | None]] = mapped_column(ARRAY(REAL))
    highs: Mapped[list[float | None]] = mapped_column(ARRAY(REAL))

    __table_args__ = (Index("ix_telemetry_1m_series", "node_id", "device_uuid", "at"), _BY_TIME)


class Hour(Base):
    """All minutes of one hour."""

    __tablename__ = "telemetry_1h"
    at: Mapped[datetime] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(primary_key=True)
    device_uuid: Mapped[str] = mapped_column(primary_key=True)
    counts: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    means: Mapped[list[float | None]] = mapped_column(ARRAY(REAL))
    lows: Mapped[list[float | None]] = mapped_column(ARRAY(REAL))
    highs: Mapped[list[float | None]] = mapped_column(ARRAY(REAL))

    __table_args__ = (Index("ix_telemetry_1h_series", "node_id", "device_uuid", "at"), _BY_TIME)


class Rollup(Base):
    """How far a coarser table is filled: everything before `done_until`. Rows that come late push it back."""

    __tablename__ = "telemetry_rollups"
    resolution: Mapped[str] = mapped_column(primary_key=True)
    done_until: Mapped[datetime]


class DeviceEventRow(Base):
    """One device event. Few, and kept for ever: scores and attributions point at them."""

    __tablename__ = "device_events"
    id: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id", ondelete="RESTRICT"))
    device_uuid: Mapped[str | None]
    kind: Mapped[str]
    code: Mapped[str]
    severity: Mapped[str]
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]
    detail: Mapped[dict[str, Any]]

    __table_args__ = (
        CheckConstraint("severity IN ('info', 'warning', 'critical')", name="severity_known"),
        Index("ix_device_events_node_occurred", "node_id", "occurred_at", "id"),
        Index("ix_device_events_node", "node_id", "id"),
        # How many nodes show one sign: asked at every critical event.
        Index(
            "ix_device_events_critical",
            "kind",
            "code",
            "received_at",
            postgresql_where=text("severity = 'critical'"),
        ),
    )


class DrainHoldRow(Base):
    """One sign whose drains are held back. At most one of a sign waits for a decision."""

    __tablename__ = "drain_holds"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    code: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'held'"))
    reason: Mapped[str]
    nodes_showing: Mapped[int]
    nodes_serving: Mapped[int]
    began_at: Mapped[datetime]
    last_sign_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    decided_reason: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("state IN ('held', 'confirmed', 'dismissed', 'lapsed')", name="state_known"),
        CheckConstraint("(state = 'held') = (decided_at IS NULL)", name="decided_has_an_instant"),
        Index("uq_drain_holds_held", "kind", "code", unique=True, postgresql_where=text("state = 'held'")),
        Index("ix_drain_holds_sign", "kind", "code", "id"),
    )


class DrainHoldNodeRow(Base):
    """One event that would have drained its node."""

    __tablename__ = "drain_hold_nodes"
    event_id: Mapped[str] = mapped_column(
        ForeignKey("device_events.id", ondelete="RESTRICT"), primary_key=True
    )
    hold_id: Mapped[str] = mapped_column(ForeignKey("drain_holds.id", ondelete="RESTRICT"))
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id", ondelete="RESTRICT"))
    device_uuid: Mapped[str | None]
    sentence: Mapped[str]
    held_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_drain_hold_nodes_hold", "hold_id", "event_id"),
        Index("ix_drain_hold_nodes_open", "node_id", postgresql_where=text("settled_at IS NULL")),
    )
