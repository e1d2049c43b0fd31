"""Pinned checkpoints, forks, the collection of what no checkpoint needs, and a placement's checkpoint interval."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add tables, and columns that the release before this one leaves to their defaults."""
    instant = sa.DateTime(timezone=True)
    op.add_column("checkpoints", sa.Column("pinned_at", instant))
    op.add_column("packs", sa.Column("marked_at", instant))
    op.add_column("open_uploads", sa.Column("closed_at", instant))
    op.add_column(
        "open_uploads",
        sa.Column("manifest_keys", postgresql.ARRAY(sa.Text), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_open_uploads_finished_or_closed"), "open_uploads", "finished_at IS NULL OR closed_at IS NULL"
    )
    op.create_index(
        "ix_open_uploads_unfinished",
        "open_uploads",
        ["job_id"],
        postgresql_where=sa.text("finished_at IS NULL AND closed_at IS NULL"),
    )
    op.add_column(
        "job_uploads", sa.Column("wanted_at", instant, server_default=sa.func.now(), nullable=False)
    )
    op.create_index("ix_job_uploads_wanted", "job_uploads", ["wanted_at"])
    op.add_column("placements", sa.Column("checkpoint_interval", postgresql.JSONB))
    op.create_table(
        "checkpoint_forks",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("origin_job_id", sa.Text, nullable=False),
        sa.Column("checkpoint_id", sa.Text, nullable=False),
        sa.Column("created_at", instant, server_default=sa.func.now(), nullable=False),
        sa.Column("released_at", instant),
        sa.PrimaryKeyConstraint("job_id", name="pk_checkpoint_forks"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_checkpoint_forks_job_id_jobs", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["origin_job_id"], ["jobs.id"], name="fk_checkpoint_forks_origin_job_id_jobs", ondelete="RESTRICT"
        ),
    )
    op.create_index(
        "ix_checkpoint_forks_origin",
        "checkpoint_forks",
        ["origin_job_id"],
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_table(
        "checkpoint_collections",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("next_at", instant, nullable=False),
        sa.Column("claim_token", sa.Text),
        sa.Column("claimed_until", instant),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoint_collections"),
        sa.ForeignKeyConstraint(
            ["id"], ["jobs.id"], name="fk_checkpoint_collections_id_jobs", ondelete="RESTRICT"
        ),
    )
    op.create_index("ix_checkpoint_collections_next", "checkpoint_collections", ["next_at"])
    op.create_table(
        "store_deletions",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("decided_at", instant, server_default=sa.func.now(), nullable=False),
        sa.Column("due_at", instant),
        sa.Column("deleted_at", instant),
        sa.Column("settled_at", instant),
        sa.Column("claim_token", sa.Text),
        sa.Column("claimed_until", instant),
        sa.PrimaryKeyConstraint("id", name="pk_store_deletions"),
        sa.UniqueConstraint("key", name="uq_store_deletions_key"),
        sa.CheckConstraint(
            "(settled_at IS NULL) = (due_at IS NOT NULL)", name=op.f("ck_store_deletions_settled_is_not_due")
        ),
    )
    op.create_index(
        "ix_store_deletions_due",
        "store_deletions",
        ["due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_store_deletions_job", "store_deletions", ["job_id"])
    # What was saved before this release is looked through as well.
    op.execute(
        "INSERT INTO checkpoint_collections (id, next_at) SELECT DISTINCT job_id, now() FROM open_uploads"
    )


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
