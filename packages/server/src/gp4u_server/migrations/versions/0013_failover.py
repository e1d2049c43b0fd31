"""Capacity that came free, stops that a bill asked for, losses that are not settled yet, moves."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table, and columns that the release before this one leaves to their defaults."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "capacity_signals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("at", instant, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_capacity_signals"),
    )
    op.add_column("jobs", sa.Column("stop_asked_at", instant))
    op.create_index(
        "ix_jobs_stop_asked",
        "jobs",
        ["stop_asked_at"],
        postgresql_where=sa.text("stop_asked_at IS NOT NULL"),
    )
    op.add_column("jobs", sa.Column("moves", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("placements", sa.Column("moving_reason", sa.Text()))
    op.add_column("placements", sa.Column("settle_at", instant))
    op.create_index(
        "ix_placements_unsettled",
        "placements",
        ["settle_at"],
        postgresql_where=sa.text("settle_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
