"""How long nodes were away by their own doing: the other half of their uptime."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns that the release before this one leaves to their defaults."""
    op.add_column("nodes", sa.Column("down_ms", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("nodes", sa.Column("down_since", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
