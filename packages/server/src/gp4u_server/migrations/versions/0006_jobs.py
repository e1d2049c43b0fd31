"""Tables of jobs, and of the authority that gateways hold over their nodes' leases."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _at(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column[object]:
    default = sa.func.now() if now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def upgrade() -> None:
    """Create the tables of jobs."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("renter_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", postgresql.JSONB(), nullable=False),
        sa.Column("offer_id", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("exit_code", sa.BigInteger()),
        sa.Column("epoch", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("data_key", sa.LargeBinary(), nullable=False),
        sa.Column("stop_reason", sa.Text()),
        _at("created_at", nullable=False, now=True),
        _at("started_at"),
        _at("ended_at"),
        _at("next_attempt_at"),
        sa.Column("attempts", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("start_failures", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column(
            "excluded_node_ids", postgresql.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'")
        ),
        sa.Column("checkpoint_id", sa.Text()),
        sa.Column("checkpoint_epoch", sa.BigInteger()),
        sa.Column("checkpoint_seq", sa.BigInteger()),
        _at("checkpoint_at"),
        sa.Column("checkpoints_count", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("progress", postgresql.JSONB()),
        sa.Column("charged_micros", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("refunded_micros", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("run_us", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("log_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        _at("last_beat_at"),
        _at("lost_at"),
        sa.CheckConstraint("epoch >= 0", name=op.f("ck_jobs_epoch_grows_from_zero")),
        sa.CheckConstraint(
            "(state IN ('done', 'failed', 'stopped')) = (ended_at IS NOT NULL)",
            name=op.f("ck_jobs_final_has_an_end"),
        ),
    )
    op.create_index("ix_jobs_renter", "jobs", ["renter_id", sa.text("id DESC")])
    op.create_index(
        "ix_jobs_due",
        "jobs",
        ["next_attempt_at"],
        postgresql_where=sa.text("state IN ('queued', 'recovering')"),
    )
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["id"],
        postgresql_where=sa.text("state NOT IN ('done', 'failed', 'stopped')"),
    )
    op.create_table(
        "placements",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("job_id", sa.Text(), sa.ForeignKey("jobs.id", ondelete="RESTRICT"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("node_name", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("gpu_model", sa.Text(), nullable=False),
        sa.Column("device_uuids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("offer_id", sa.Text(), nullable=False),
        sa.Column("booking_id", sa.Text(), nullable=False),
        sa.Column("rate_per_hour_micros", sa.BigInteger(), nullable=False),
        sa.Column("desired", sa.Text(), nullable=False, server_default="run"),
        sa.Column("stop_reason", sa.Text()),
        _at("stop_requested_at"),
        sa.Column("restore_checkpoint_id", sa.Text()),
        sa.Column("restore_epoch", sa.BigInteger()),
        sa.Column("restore_seq", sa.BigInteger()),
        _at("created_at", nullable=False, now=True),
        _at("claimed_at"),
        _at("running_at"),
        _at("metered_from"),
        _at("interrupted_at"),
        _at("checkpoint_at"),
        _at("ended_at"),
        sa.Column("report_seq", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("log_next_offset", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("recovery", postgresql.JSONB()),
        sa.CheckConstraint(
            "(state <> 'ended') = (ended_at IS NULL)", name=op.f("ck_placements_ended_has_an_end")
        ),
        sa.CheckConstraint(
            "(state <> 'ended') = (outcome IS NULL)", name=op.f("ck_placements_ended_has_an_outcome")
        ),
    )
    op.create_index("uq_placements_job_epoch", "placements", ["job_id", "epoch"], unique=True)
    live = sa.text("state <> 'ended'")
    op.create_index("uq_placements_live", "placements", ["job_id"], unique=True, postgresql_where=live)
    op.create_index("ix_placements_node_live", "placements", ["node_id"], postgresql_where=live)
    op.create_index("ix_placements_booking", "placements", ["booking_id"])
    op.create_table(
        "job_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("job_id", sa.Text(), sa.ForeignKey("jobs.id", ondelete="RESTRICT"), nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger()),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.Column("ms", sa.BigInteger()),
        sa.Column("cost_micros", sa.BigInteger()),
    )
    op.create_index("ix_job_events_job", "job_events", ["job_id", "id"])
    op.create_table(
        "job_log_chunks",
        sa.Column("job_id", sa.Text(), sa.ForeignKey("jobs.id", ondelete="RESTRICT"), primary_key=True),
        sa.Column("start_offset", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("end_offset", sa.BigInteger(), nullable=False),
        sa.Column("placement_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
    )
    op.create_table(
        "gateway_authorities",
        sa.Column("gateway_id", sa.Text(), primary_key=True),
        sa.Column("address", sa.Text(), nullable=False),
        _at("started_at", nullable=False, now=True),
        _at("renewed_at", nullable=False),
        _at("authority_until", nullable=False),
        _at("ended_at"),
    )
    op.create_index(
        "ix_gateway_authorities_live",
        "gateway_authorities",
        ["authority_until"],
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
