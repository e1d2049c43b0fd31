"""Checkpoints of the whole job: which placements are saved so, and whose signature a dump bears."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns that the release before this one leaves to their defaults."""
    op.add_column(
        "placements", sa.Column("transparent", sa.Boolean(), server_default="false", nullable=False)
    )
    op.add_column("checkpoints", sa.Column("transparent", postgresql.JSONB()))


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
