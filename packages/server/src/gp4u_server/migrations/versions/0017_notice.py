"""Notice before a job has to leave: maintenance windows, preemption, the replacement pool, devices that failed, what would
free capacity."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add a table, and columns that the release before this one leaves empty or to their defaults."""
    op.add_column("jobs", sa.Column("checkpoint_cost_ms", sa.BigInteger()))
    op.add_column("jobs", sa.Column("preemptions", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("preempted_at", INSTANT))
    op.add_column("jobs", sa.Column("held_back_until", INSTANT))
    op.add_column("jobs", sa.Column("waiting", JSONB()))
    op.add_column("placements", sa.Column("notice_reason", sa.Text()))
    op.add_column("placements", sa.Column("notice_at", INSTANT))
    op.add_column("placements", sa.Column("notice_deadline_at", INSTANT))
    op.add_column("placements", sa.Column("stop_due_at", INSTANT))
    op.create_index(
        "ix_placements_stop_due",
        "placements",
        ["stop_due_at"],
        postgresql_where=sa.text("stop_due_at IS NOT NULL"),
    )
    op.add_column("devices", sa.Column("reserved_for", sa.Text()))
    op.add_column("devices", sa.Column("reserved_until", INSTANT))
    op.add_column("devices", sa.Column("faulted_at", INSTANT))
    op.add_column("devices", sa.Column("fault_reason", sa.Text()))
    op.add_column("devices", sa.Column("faults", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("devices", sa.Column("probation_until", INSTANT))
    op.create_index(
        "ix_devices_faulted", "devices", ["node_id"], postgresql_where=sa.text("faulted_at IS NOT NULL")
    )
    op.create_index(
        "ix_devices_reserved",
        "devices",
        ["reserved_for"],
        postgresql_where=sa.text("reserved_for IS NOT NULL"),
    )
    op.add_column("nodes", sa.Column("in_pool", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("nodes", sa.Column("maintenance_until", INSTANT))
    op.add_column("offers", sa.Column("in_pool", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("offers", sa.Column("window_starts_at", INSTANT))
    op.create_table(
        "maintenance_windows",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("starts_at", INSTANT, nullable=False),
        sa.Column("ends_at", INSTANT, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_maintenance_windows_window_ordered")),
        sa.CheckConstraint(
            "state IN ('planned', 'active', 'over', 'cancelled')",
            name=op.f("ck_maintenance_windows_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["node_id"], ["nodes.id"], name="fk_maintenance_windows_node_id", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_maintenance_windows"),
    )
    op.create_index(
        "ix_maintenance_windows_standing",
        "maintenance_windows",
        ["node_id", "starts_at"],
        postgresql_where=sa.text("state IN ('planned', 'active')"),
    )
    op.create_index(
        "ix_maintenance_windows_due",
        "maintenance_windows",
        ["starts_at"],
        postgresql_where=sa.text("state IN ('planned', 'active')"),
    )


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
