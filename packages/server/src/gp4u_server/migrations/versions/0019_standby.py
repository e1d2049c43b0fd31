"""Hot standbys: which node stands by for which job, when that is looked at, and a meter beside a booking's."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add tables, and columns that the release before this one leaves empty."""
    op.add_column("meters", sa.Column("beside_booking_id", sa.Text()))
    op.add_column("meters", sa.Column("budget_total_micros", sa.BigInteger()))
    op.create_index(
        "ix_meters_beside",
        "meters",
        ["beside_booking_id"],
        postgresql_where=sa.text("beside_booking_id IS NOT NULL"),
    )
    op.create_table(
        "standbys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("booking_id", sa.Text(), nullable=False),
        sa.Column("offer_id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("node_name", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("gpu_model", sa.Text(), nullable=False),
        sa.Column("gpus", sa.BigInteger(), nullable=False),
        sa.Column("rate_per_hour_micros", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("prepared", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("problem", sa.Text()),
        sa.Column("chosen_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("ready_since", INSTANT),
        sa.Column("proven_at", INSTANT),
        sa.Column("behind_since", INSTANT),
        sa.Column("held_checkpoint_id", sa.Text()),
        sa.Column("held_epoch", sa.BigInteger()),
        sa.Column("held_seq", sa.BigInteger()),
        sa.Column("held_at", INSTANT),
        sa.Column("bytes_held", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fetched_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("settled_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_standbys"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_standbys_job_id", ondelete="RESTRICT"),
        sa.UniqueConstraint("job_id", "number", name="uq_standbys_job_id_number"),
        sa.CheckConstraint("state IN ('preparing', 'ready', 'ended')", name="ck_standbys_state_known"),
        sa.CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name="ck_standbys_ended_has_an_end"),
        sa.CheckConstraint("(state = 'ended') = (reason IS NOT NULL)", name="ck_standbys_ended_has_a_reason"),
        sa.CheckConstraint(
            "(state = 'ready') = (ready_since IS NOT NULL)", name="ck_standbys_ready_has_an_instant"
        ),
        sa.CheckConstraint("rate_per_hour_micros > 0", name="ck_standbys_rate_positive"),
    )
    op.create_index(
        "uq_standbys_live", "standbys", ["job_id"], unique=True, postgresql_where=sa.text("state <> 'ended'")
    )
    op.create_index(
        "ix_standbys_node_live", "standbys", ["node_id"], postgresql_where=sa.text("state <> 'ended'")
    )
    op.create_index(
        "ix_standbys_unsettled",
        "standbys",
        ["job_id"],
        postgresql_where=sa.text("state = 'ended' AND settled_at IS NULL"),
    )
    op.create_table(
        "standby_watches",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("next_at", INSTANT, nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("why_none", sa.Text()),
        sa.PrimaryKeyConstraint("job_id", name="pk_standby_watches"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_standby_watches_job_id", ondelete="RESTRICT"
        ),
    )
    op.create_index("ix_standby_watches_next", "standby_watches", ["next_at"])


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
