"""Tables of foundation."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of foundation."""
    assert op is not None


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
