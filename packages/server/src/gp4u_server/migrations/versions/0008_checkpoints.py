"""Tables of checkpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of checkpoints."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "open_uploads",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("placement_id", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("opened_at", instant, server_default=sa.func.now(), nullable=False),
        sa.Column("finished_at", instant),
        sa.PrimaryKeyConstraint("id", name="pk_open_uploads"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_open_uploads_job_id_jobs", ondelete="RESTRICT"
        ),
        sa.UniqueConstraint("job_id", "seq", name="uq_open_uploads_job_id_seq"),
        sa.CheckConstraint("seq >= 1 AND epoch >= 1", name=op.f("ck_open_uploads_numbers_start_at_one")),
    )
    op.create_index(
        "ix_open_uploads_open", "open_uploads", ["opened_at"], postgresql_where=sa.text("finished_at IS NULL")
    )
    op.create_table(
        "packs",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("upload_id", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("announced_at", instant, server_default=sa.func.now(), nullable=False),
        sa.Column("stored_at", instant),
        sa.PrimaryKeyConstraint("job_id", "id", name="pk_packs"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_packs_job_id_jobs", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["open_uploads.id"], name="fk_packs_upload_id_open_uploads", ondelete="RESTRICT"
        ),
        sa.CheckConstraint("size_bytes > 0", name=op.f("ck_packs_size_positive")),
    )
    op.create_index("ix_packs_upload", "packs", ["upload_id"])
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("upload_id", sa.Text, nullable=False),
        sa.Column("placement_id", sa.Text, nullable=False),
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("node_name", sa.Text, nullable=False),
        sa.Column("manifest_key", sa.Text, nullable=False),
        sa.Column("manifest_blake3", sa.Text, nullable=False),
        sa.Column("manifest_bytes", sa.BigInteger, nullable=False),
        sa.Column("files", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False),
        sa.Column("step", sa.BigInteger),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("committed_at", instant, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("damaged_at", instant),
        sa.Column("damage", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoints"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_checkpoints_job_id_jobs", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["open_uploads.id"],
            name="fk_checkpoints_upload_id_open_uploads",
            ondelete="RESTRICT",
        ),
        sa.UniqueConstraint("job_id", "epoch", "seq", name="uq_checkpoints_job_id_epoch_seq"),
        sa.UniqueConstraint("id", "job_id", name="uq_checkpoints_id_job_id"),
        sa.CheckConstraint(
            "files >= 0 AND size_bytes >= 0 AND stored_bytes >= 0",
            name=op.f("ck_checkpoints_counts_not_negative"),
        ),
        sa.CheckConstraint(
            "trigger IN ('job', 'interval', 'final')", name=op.f("ck_checkpoints_trigger_known")
        ),
    )
    op.create_table(
        "checkpoint_packs",
        sa.Column("checkpoint_id", sa.Text, nullable=False),
        sa.Column("pack_id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_id", "pack_id", name="pk_checkpoint_packs"),
        sa.ForeignKeyConstraint(
            ["checkpoint_id", "job_id"],
            ["checkpoints.id", "checkpoints.job_id"],
            name="fk_checkpoint_packs_checkpoint",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["job_id", "pack_id"],
            ["packs.job_id", "packs.id"],
            name="fk_checkpoint_packs_pack",
            ondelete="RESTRICT",
        ),
    )
    op.create_index("ix_checkpoint_packs_pack", "checkpoint_packs", ["job_id", "pack_id"])
    op.create_table(
        "job_uploads",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("renter_id", sa.Text, nullable=False),
        sa.Column("blake3", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", instant, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_job_uploads"),
        sa.CheckConstraint("size_bytes > 0", name=op.f("ck_job_uploads_size_positive")),
    )
    op.create_index("ix_job_uploads_renter", "job_uploads", ["renter_id", "blake3", "id"])


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
