"""Tables of incidents. Private to this folder."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base

_CAUSES = "('host_hardware', 'host_software', 'renter_job', 'network', 'platform', 'unknown')"


class Incident(Base):
    """One incident. `due_at`: to be looked at then; `settled_at`: decided, though a return or a ruling may change it."""

    __tablename__ = "incidents"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id", ondelete="RESTRICT"))
    owner_id: Mapped[str]
    gateway_id: Mapped[str | None]
    region: Mapped[str]
    job_id: Mapped[str | None]
    placement_id: Mapped[str | None]
    reason: Mapped[str | None]
    began_at: Mapped[datetime]
    opened_at: Mapped[datetime]
    returned_at: Mapped[datetime | None]
    away_until: Mapped[datetime | None]  # back, or nobody counted on it any more
    ours: Mapped[bool] = mapped_column(server_default=text("false"))
    off_duty: Mapped[bool] = mapped_column(server_default=text("false"))
    socket_open: Mapped[bool | None] = mapped_column(Boolean)
    before: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    after: Mapped[dict[str, Any] | None]
    cause: Mapped[str | None]
    sub_class: Mapped[str | None]
    sentence: Mapped[str | None]
    evidence: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    settled_at: Mapped[datetime | None]
    ruled: Mapped[bool] = mapped_column(server_default=text("false"))
    host_losses: Mapped[int] = mapped_column(
        server_default=text("0")
    )  # what it adds to the node's record now
    network_losses: Mapped[int] = mapped_column(server_default=text("0"))
    away_ms: Mapped[int] = mapped_column(server_default=text("0"))
    looks: Mapped[int] = mapped_column(server_default=text("0"))
    due_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime]
    claim_token: Mapped[str | None]
    claimed_until: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("kind IN ('node_lost', 'run_lost', 'job_failed', 'start_failed')", name="kind_known"),
        CheckConstraint(f"cause IN {_CAUSES}", name="cause_known"),
        CheckConstraint("(cause IS NULL) = (settled_at IS NULL)", name="settled_has_a_cause"),
        CheckConstraint(
            "(cause IN ('host_hardware', 'host_software', 'network'))"
            " OR (host_losses = 0 AND network_losses = 0 AND away_ms = 0)",
            name="only_the_host_side_counts",
        ),
        Index("ix_incidents_node", "node_id", "id"),
        # Admins look at all nodes: by cause, by kind, or what was ruled on.
        Index("ix_incidents_cause", "cause", "id"),
        Index("ix_incidents_kind", "kind", "id"),
        Index("ix_incidents_ruled", "id", postgresql_where=text("ruled")),
        Index("ix_incidents_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_incidents_losses", "opened_at", postgresql_where=text("kind = 'node_lost'")),
        Index(
            "ix_incidents_away",
            "node_id",
            postgresql_where=text("kind = 'node_lost' AND returned_at IS NULL"),
        ),
        Index(
            "uq_incidents_placement",
            "placement_id",
            unique=True,
            postgresql_where=text("placement_id IS NOT NULL"),
        ),
    )


class IncidentRun(Base):
    """A run that an incident hit. `told_cause`: what its job's timeline says; `tell_at`: it is to be told, due then."""

    __tablename__ = "incident_runs"
    placement_id: Mapped[str] = mapped_column(primary_key=True)
    incident_id: Mapped[str] = mapped_column(ForeignKey("incidents.id", ondelete="RESTRICT"))
    job_id: Mapped[str]
    epoch: Mapped[int]
    told_cause: Mapped[str | None]
    tell_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_incident_runs_incident", "incident_id"),
        Index("ix_incident_runs_untold", "tell_at", postgresql_where=text("tell_at IS NOT NULL")),
    )


class IncidentRuling(Base):
    """What an admin said of an incident, and what stood before. Append-only but for the undoing."""

    __tablename__ = "incident_rulings"
    id: Mapped[str] = mapped_column(primary_key=True)
    incident_id: Mapped[str] = mapped_column(ForeignKey("incidents.id", ondelete="RESTRICT"))
    by_user_id: Mapped[str]
    cause: Mapped[str]
    was: Mapped[str | None]
    was_sub_class: Mapped[str | None]
    reason: Mapped[str]
    at: Mapped[datetime]
    undone_at: Mapped[datetime | None]
    undone_by: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(f"cause IN {_CAUSES}", name="ruling_cause_known"),
        Index("ix_incident_rulings_incident", "incident_id", "id"),
    )
