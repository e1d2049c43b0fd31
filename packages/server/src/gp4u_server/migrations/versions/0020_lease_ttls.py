"""How long a node's leases last: the TTL follows its link."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns that the release before this one leaves to their defaults, and an index."""
    op.add_column("nodes", sa.Column("lease_ttl_ms", sa.BigInteger(), server_default="5000", nullable=False))
    # What is connected now may hold leases of that length; a node that joins later holds none yet.
    op.alter_column("nodes", "lease_ttl_ms", server_default="0")
    op.add_column("nodes", sa.Column("lease_ttl_why", sa.Text()))
    op.create_index("ix_nodes_lease_ttl", "nodes", ["lease_ttl_ms"])


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
