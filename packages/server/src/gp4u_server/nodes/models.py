"""Tables of nodes."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base

STANDING = text("status <> 'removed'")
"""A removed node keeps its row for the history and gives back its name, its key and its devices."""


class NodeRow(Base):
    """One enrolled machine."""

    __tablename__ = "nodes"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    name: Mapped[str]
    region: Mapped[str]
    status: Mapped[str]
    findings: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    simulated: Mapped[bool]
    facts: Mapped[dict[str, Any]]
    cpus: Mapped[int]
    memory_mb: Mapped[int]
    disk_mb: Mapped[int]
    liveness: Mapped[str] = mapped_column(server_default=text("'offline'"))
    gateway_id: Mapped[str | None]
    session_no: Mapped[int] = mapped_column(server_default=text("0"))
    desired_version: Mapped[int] = mapped_column(server_default=text("0"))
    losses: Mapped[int] = mapped_column(server_default=text("0"))
    online_ms: Mapped[int] = mapped_column(server_default=text("0"))
    online_since: Mapped[datetime | None]
    down_ms: Mapped[int] = mapped_column(server_default=text("0"))
    down_since: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    enrolled_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    session_began_at: Mapped[datetime | None]
    duty: Mapped[str] = mapped_column(server_default=text("'in_service'"))
    duty_reason: Mapped[str | None]
    duty_since: Mapped[datetime | None]
    drain_deadline_at: Mapped[datetime | None]
    quarantined_until: Mapped[datetime | None]
    quarantines: Mapped[int] = mapped_column(server_default=text("0"))
    lease_ttl_ms: Mapped[int] = mapped_column(server_default=text("0"))
    """No lease in force was granted for longer (docs/design/leases.md); 0 until it first connects."""
    lease_ttl_why: Mapped[str | None]
    changed_in: Mapped[int] = mapped_column(server_default=text("0"))
    """The transaction that last changed its gateway, session, liveness, status or wanted version. Kept by a trigger."""
    watched_reason: Mapped[str | None]
    """It showed a sign of failing that is held back (`catalyst.telemetry.drain_guard`): it stays in service, watched."""
    in_pool: Mapped[bool] = mapped_column(server_default=text("false"))
    maintenance_until: Mapped[datetime | None]
    """Set while a maintenance window is the cause of the duty: the node is back in service by itself then."""

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'verified', 'removed')", name="status_known"),
        CheckConstraint("liveness IN ('offline', 'online', 'suspect', 'lost')", name="liveness_known"),
        CheckConstraint(
            "duty IN ('in_service', 'draining', 'maintenance', 'quarantined')", name="duty_known"
        ),
        CheckConstraint("octet_length(public_key) = 32", name="public_key_is_ed25519"),
        CheckConstraint("losses >= 0 AND online_ms >= 0", name="record_not_negative"),
        Index("ix_nodes_owner", "owner_id", "id", postgresql_where=STANDING),
        Index("uq_nodes_name", "name", unique=True, postgresql_where=STANDING),
        Index("uq_nodes_public_key", "public_key", unique=True, postgresql_where=STANDING),
        Index(
            "ix_nodes_gateway", "gateway_id", "id", postgresql_where=text("liveness IN ('online', 'suspect')")
        ),
        Index("ix_nodes_lease_ttl", "lease_ttl_ms"),
        Index("ix_nodes_changed_in", "changed_in"),
        Index("ix_nodes_off_duty", "duty", "id", postgresql_where=text("duty <> 'in_service'")),
    )


class DeviceRow(Base):
    """One GPU of a node. `taken_as` names the taking that holds it; NULL means free.

    `reserved_for`: nobody but this job takes it next. `faulted_at`: it failed or vanished, and is offered to nobody until
    it is there again and its probation is over.
    """

    __tablename__ = "devices"
    id: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id", ondelete="RESTRICT"))
    uuid: Mapped[str]
    model: Mapped[str]
    vram_mb: Mapped[int]
    simulated: Mapped[bool]
    position: Mapped[int]
    present: Mapped[bool] = mapped_column(server_default=text("true"))
    enrolled: Mapped[bool] = mapped_column(server_default=text("true"))
    taken_as: Mapped[str | None]
    reserved_for: Mapped[str | None]
    reserved_until: Mapped[datetime | None]
    faulted_at: Mapped[datetime | None]
    fault_reason: Mapped[str | None]
    faults: Mapped[int] = mapped_column(server_default=text("0"))
    probation_until: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("vram_mb > 0", name="vram_positive"),
        Index("ix_devices_node", "node_id", "position"),
        Index("ix_devices_faulted", "node_id", postgresql_where=text("faulted_at IS NOT NULL")),
        Index("ix_devices_reserved", "reserved_for", postgresql_where=text("reserved_for IS NOT NULL")),
        # One card is in one machine: the same UUID may be enrolled again only after its node was removed.
        Index("uq_devices_uuid", "uuid", unique=True, postgresql_where=text("enrolled")),
    )


class EnrolmentTokenRow(Base):
    """One permission to join, hashed. `used_at` is set by the join that consumed it."""

    __tablename__ = "enrolment_tokens"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    region: Mapped[str]
    node_name: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_enrolment_tokens_owner", "owner_id", "created_at"),)


class GatewayRow(Base):
    """One gateway process that holds nodes, and when it last said that it lives."""

    __tablename__ = "gateways"
    id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    unbroken_since: Mapped[datetime | None]
    """Since when it said so without a gap: what nodes did not do before is not their fault."""


class NodeLossRow(Base):
    """One loss of a node. `ours`: the platform could not watch it, so it is not held against the node."""

    __tablename__ = "node_losses"
    id: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id", ondelete="RESTRICT"))
    at: Mapped[datetime]
    ours: Mapped[bool]

    __table_args__ = (Index("ix_node_losses_node", "node_id", "at"),)


class MaintenanceWindowRow(Base):
    """A span in which its owner has the node out of service. planned → active → over, or cancelled before or within."""

    __tablename__ = "maintenance_windows"
    id: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id", ondelete="RESTRICT"))
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    reason: Mapped[str | None]
    state: Mapped[str]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("ends_at > starts_at", name="window_ordered"),
        CheckConstraint("state IN ('planned', 'active', 'over', 'cancelled')", name="state_known"),
        Index(
            "ix_maintenance_windows_standing",
            "node_id",
            "starts_at",
            postgresql_where=text("state IN ('planned', 'active')"),
        ),
        Index(
            "ix_maintenance_windows_due",
            "starts_at",
            postgresql_where=text("state IN ('planned', 'active')"),
        ),
    )
