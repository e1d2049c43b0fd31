"""Indexes for the admins' listing of incidents: by cause, by kind, and what was ruled on."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes; incidents are few, so that building them locks nothing for long."""
    op.create_index("ix_incidents_cause", "incidents", ["cause", "id"])
    op.create_index("ix_incidents_kind", "incidents", ["kind", "id"])
    op.create_index("ix_incidents_ruled", "incidents", ["id"], postgresql_where=sa.text("ruled"))


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
