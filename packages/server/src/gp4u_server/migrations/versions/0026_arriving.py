"""Lazy files of a checkpoint that arrive after a placement's start."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column that the release before this one leaves empty."""
    op.add_column("placements", sa.Column("arriving", postgresql.JSONB()))


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
