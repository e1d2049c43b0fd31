"""Held drains and watched nodes; which restore of the database from a backup this one goes on from."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add tables, and a column that the release before this one leaves empty."""
    op.add_column("nodes", sa.Column("watched_reason", sa.Text()))
    op.create_index(
        "ix_device_events_critical",
        "device_events",
        ["kind", "code", "received_at"],
        postgresql_where=sa.text("severity = 'critical'"),
    )
    op.create_table(
        "drain_holds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'held'"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("nodes_showing", sa.BigInteger(), nullable=False),
        sa.Column("nodes_serving", sa.BigInteger(), nullable=False),
        sa.Column("began_at", INSTANT, nullable=False),
        sa.Column("last_sign_at", INSTANT, nullable=False),
        sa.Column("decided_at", INSTANT),
        sa.Column("decided_by", sa.Text()),
        sa.Column("decided_reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_drain_holds"),
        sa.CheckConstraint(
            "state IN ('held', 'confirmed', 'dismissed', 'lapsed')", name="ck_drain_holds_state_known"
        ),
        sa.CheckConstraint(
            "(state = 'held') = (decided_at IS NULL)", name="ck_drain_holds_decided_has_an_instant"
        ),
    )
    op.create_index(
        "uq_drain_holds_held",
        "drain_holds",
        ["kind", "code"],
        unique=True,
        postgresql_where=sa.text("state = 'held'"),
    )
    op.create_index("ix_drain_holds_sign", "drain_holds", ["kind", "code", "id"])
    op.create_table(
        "drain_hold_nodes",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("device_uuid", sa.Text()),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("held_at", INSTANT, nullable=False),
        sa.Column("settled_at", INSTANT),
        sa.PrimaryKeyConstraint("event_id", name="pk_drain_hold_nodes"),
        sa.ForeignKeyConstraint(
            ["event_id"], ["device_events.id"], name="fk_drain_hold_nodes_event_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["hold_id"], ["drain_holds.id"], name="fk_drain_hold_nodes_hold_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["node_id"], ["nodes.id"], name="fk_drain_hold_nodes_node_id", ondelete="RESTRICT"
        ),
    )
    op.create_index("ix_drain_hold_nodes_hold", "drain_hold_nodes", ["hold_id", "event_id"])
    op.create_index(
        "ix_drain_hold_nodes_open",
        "drain_hold_nodes",
        ["node_id"],
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_table(
        "incarnation",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("mark", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("restores", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("restored_at", INSTANT),
        sa.Column("found_by", sa.Text()),
        sa.PrimaryKeyConstraint("single", name="pk_incarnation"),
        sa.CheckConstraint("single", name="ck_incarnation_one_row"),
    )
    op.execute("INSERT INTO incarnation DEFAULT VALUES")


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
