"""Tables of bookings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of bookings."""
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    op.create_table(
        "bookings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("renter_id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("offer_id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("node_name", sa.Text(), nullable=False),
        sa.Column("gpu_model", sa.Text(), nullable=False),
        sa.Column("rate_per_hour_micros", sa.BigInteger(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_bookings"),
        sa.CheckConstraint("rate_per_hour_micros > 0", name="ck_bookings_rate_positive"),
        sa.CheckConstraint("state IN ('held', 'active', 'ended')", name="ck_bookings_state_known"),
        sa.CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name="ck_bookings_ended_has_an_end"),
    )
    op.create_index("ix_bookings_renter", "bookings", ["renter_id", sa.text("id DESC")])
    op.create_index("ix_bookings_job", "bookings", ["job_id"])
    op.create_index(
        "ix_bookings_live", "bookings", ["starts_at"], postgresql_where=sa.text("state <> 'ended'")
    )
    op.create_table(
        "booking_devices",
        sa.Column("booking_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("during", postgresql.TSTZRANGE(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("booking_id", "device_id", name="pk_booking_devices"),
        sa.ForeignKeyConstraint(
            ["booking_id"], ["bookings.id"], name="fk_booking_devices_booking_id", ondelete="RESTRICT"
        ),
        sa.CheckConstraint("NOT isempty(during)", name="ck_booking_devices_during_not_empty"),
        postgresql.ExcludeConstraint(
            ("device_id", "="),
            ("during", "&&"),
            name="ex_booking_devices_overlap",
            using="gist",
            where=sa.text("live"),
        ),
    )


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
