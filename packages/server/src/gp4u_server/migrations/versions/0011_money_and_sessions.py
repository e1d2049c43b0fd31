"""Bookings and meters that are looked at when due, filters of bookings, what a session was opened from."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns that the release before this one leaves to their defaults, and indexes."""
    instant = sa.DateTime(timezone=True)
    op.add_column("bookings", sa.Column("check_at", instant, server_default=sa.func.now(), nullable=False))
    op.add_column(
        "bookings", sa.Column("check_failures", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.create_index(
        "ix_bookings_check", "bookings", ["check_at"], postgresql_where=sa.text("state <> 'ended'")
    )
    op.create_index("ix_bookings_renter_state", "bookings", ["renter_id", "state", sa.text("id DESC")])
    op.add_column("meters", sa.Column("settle_at", instant))
    op.add_column("sessions", sa.Column("user_agent", sa.Text(), server_default="", nullable=False))
    op.create_index(
        "ix_sessions_revoked_at",
        "sessions",
        ["revoked_at"],
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
