"""Nodes that are drained, in maintenance or quarantined; their losses one by one; since when gateways are heard unbroken."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table, and columns that the release before this one leaves to their defaults."""
    instant = sa.DateTime(timezone=True)
    op.add_column("gateways", sa.Column("unbroken_since", instant))
    op.add_column("nodes", sa.Column("session_began_at", instant))
    op.add_column("nodes", sa.Column("duty", sa.Text(), server_default="in_service", nullable=False))
    op.add_column("nodes", sa.Column("duty_reason", sa.Text()))
    op.add_column("nodes", sa.Column("duty_since", instant))
    op.add_column("nodes", sa.Column("drain_deadline_at", instant))
    op.add_column("nodes", sa.Column("quarantined_until", instant))
    op.add_column("nodes", sa.Column("quarantines", sa.BigInteger(), server_default="0", nullable=False))
    op.create_check_constraint(
        op.f("ck_nodes_duty_known"),
        "nodes",
        "duty IN ('in_service', 'draining', 'maintenance', 'quarantined')",
    )
    op.create_index(
        "ix_nodes_off_duty", "nodes", ["duty", "id"], postgresql_where=sa.text("duty <> 'in_service'")
    )
    op.create_table(
        "node_losses",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.Column("ours", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"], ["nodes.id"], name="fk_node_losses_node_id", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_node_losses"),
    )
    op.create_index("ix_node_losses_node", "node_losses", ["node_id", "at"])


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
