"""Tables of billing."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    """Create the tables of billing."""
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    op.create_table(
        "meters",
        _text("booking_id"),
        _text("job_id"),
        _text("job_name"),
        _text("renter_id"),
        _text("owner_id"),
        _text("node_id"),
        _text("node_name"),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        _text("currency"),
        sa.Column("rate_per_hour_micros", sa.BigInteger(), nullable=False),
        sa.Column("owner_share_percent", sa.BigInteger(), nullable=False),
        sa.Column("limit_micros", sa.BigInteger()),
        _instant("floor_at", nullable=True),
        _count("holds"),
        _count("charged_micros"),
        _count("refunded_micros"),
        _count("owner_micros"),
        _count("platform_micros"),
        _count("written_off_micros"),
        _count("billed_us"),
        _instant("posted_through", nullable=True),
        _instant("lost_from", nullable=True),
        _text("stop_reason", nullable=True),
        _instant("next_due_at", nullable=True),
        _count("failures"),
        _instant("created_at"),
        _instant("ended_at", nullable=True),
        _instant("settled_at", nullable=True),
        sa.PrimaryKeyConstraint("booking_id", name="pk_meters"),
        sa.CheckConstraint("rate_per_hour_micros > 0", name="ck_meters_rate_positive"),
        sa.CheckConstraint("owner_share_percent BETWEEN 0 AND 100", name="ck_meters_share_percent"),
        sa.CheckConstraint(
            "charged_micros >= refunded_micros AND refunded_micros >= 0 AND written_off_micros >= 0",
            name="ck_meters_refund_within_charge",
        ),
        sa.CheckConstraint(
            "owner_micros + platform_micros = charged_micros - refunded_micros",
            name="ck_meters_split_exact",
        ),
    )
    op.create_index(
        "ix_meters_due", "meters", ["next_due_at"], postgresql_where=sa.text("next_due_at IS NOT NULL")
    )
    op.create_index(
        "ix_meters_unsettled",
        "meters",
        ["ended_at"],
        postgresql_where=sa.text("ended_at IS NOT NULL AND settled_at IS NULL"),
    )
    op.create_index("ix_meters_job", "meters", ["job_id"])
    op.create_index("ix_meters_owner_node", "meters", ["owner_id", "node_id"])
    op.create_index(
        "ix_meters_renter_open", "meters", ["renter_id"], postgresql_where=sa.text("settled_at IS NULL")
    )
    op.create_table(
        "usage_intervals",
        _text("job_id"),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        _text("booking_id"),
        _instant("started_at"),
        _instant("ended_at", nullable=True),
        sa.PrimaryKeyConstraint("job_id", "epoch", "seq", name="pk_usage_intervals"),
        sa.ForeignKeyConstraint(
            ["booking_id"],
            ["meters.booking_id"],
            name="fk_usage_intervals_booking_id",
            ondelete="RESTRICT",
        ),
        sa.CheckConstraint("ended_at >= started_at", name="ck_usage_intervals_not_negative"),
        postgresql.ExcludeConstraint(
            ("job_id", "="),
            (sa.text("tstzrange(started_at, ended_at)"), "&&"),
            name="ex_usage_intervals_overlap",
            using="gist",
        ),
    )
    op.create_index("ix_usage_intervals_booking", "usage_intervals", ["booking_id", "seq"])
    op.create_table(
        "postings",
        _text("transfer_id"),
        _text("booking_id"),
        _text("renter_id"),
        _text("owner_id"),
        _instant("at"),
        _instant("through"),
        _text("why"),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("owner_micros", sa.BigInteger(), nullable=False),
        sa.Column("platform_micros", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", name="pk_postings"),
        sa.ForeignKeyConstraint(
            ["booking_id"], ["meters.booking_id"], name="fk_postings_booking_id", ondelete="RESTRICT"
        ),
        sa.CheckConstraint("owner_micros + platform_micros = amount_micros", name="ck_postings_split_exact"),
    )
    op.create_index("ix_postings_booking", "postings", ["booking_id", "at"])
    op.create_index("ix_postings_owner", "postings", ["owner_id", "at"])
    op.create_index("ix_postings_renter", "postings", ["renter_id", "at"])
    op.create_table(
        "top_ups",
        _text("id"),
        _text("user_id"),
        _text("idempotency_key", nullable=True),
        sa.Column("inputs_hash", sa.LargeBinary(), nullable=False),
        _text("provider"),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        _text("currency"),
        _text("state"),
        _text("reference", nullable=True),
        _text("decline_reason", nullable=True),
        sa.Column("answer", postgresql.JSONB()),
        _count("attempts"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        _instant("retry_at", nullable=True),
        _instant("settled_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_top_ups"),
        sa.UniqueConstraint("user_id", "idempotency_key", name="uq_top_ups_user_id_idempotency_key"),
        sa.CheckConstraint("state IN ('created', 'succeeded', 'declined')", name="ck_top_ups_state"),
        sa.CheckConstraint("amount_micros > 0", name="ck_top_ups_amount_positive"),
    )
    op.create_index(
        "ix_top_ups_retry", "top_ups", ["retry_at"], postgresql_where=sa.text("retry_at IS NOT NULL")
    )


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
