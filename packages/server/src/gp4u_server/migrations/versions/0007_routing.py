"""Tables of routing."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of routing."""
    op.create_table(
        "routing_decisions",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("took_ms", sa.Double, nullable=False),
        sa.Column("offer_id", sa.Text),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("candidates_count", sa.BigInteger, nullable=False),
        sa.Column("candidates", postgresql.JSONB, nullable=False),
        sa.Column("failed_counts", postgresql.JSONB, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_routing_decisions"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_routing_decisions_job_id_jobs", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_routing_decisions_job", "routing_decisions", ["job_id", sa.text("id DESC")])


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
