"""Readings of nodes and devices by time, how far they are summed up, and events of devices."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add tables. Partitions are made by the controller, ahead of what is written."""
    _by_time("telemetry_10s", _reals("values"))
    for name in ("telemetry_1m", "telemetry_1h"):
        counts: sa.Column[object] = sa.Column("counts", postgresql.ARRAY(sa.Integer()), nullable=False)
        _by_time(name, counts, *(_reals(column) for column in ("means", "lows", "highs")))
    op.create_table(
        "telemetry_rollups",
        sa.Column("resolution", sa.Text(), nullable=False),
        sa.Column("done_until", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("resolution", name="pk_telemetry_rollups"),
    )
    op.create_table(
        "device_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("device_uuid", sa.Text()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("occurred_at", INSTANT, nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint("severity IN ('info', 'warning', 'critical')", name="severity_known"),
        sa.ForeignKeyConstraint(
            ["node_id"], ["nodes.id"], name="fk_device_events_node_id", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_device_events"),
    )
    op.create_index("ix_device_events_node_occurred", "device_events", ["node_id", "occurred_at", "id"])
    op.create_index("ix_device_events_node", "device_events", ["node_id", "id"])


def _reals(name: str) -> "sa.Column[object]":
    return sa.Column(name, postgresql.ARRAY(postgresql.REAL()), nullable=False)


def _by_time(name: str, *columns: "sa.Column[object]") -> None:
    op.create_table(
        name,
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("device_uuid", sa.Text(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("at", "node_id", "device_uuid", name=f"pk_{name}"),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index(f"ix_{name}_series", name, ["node_id", "device_uuid", "at"])


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
