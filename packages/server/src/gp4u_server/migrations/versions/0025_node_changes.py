"""Which transaction changed a node's row last, where gateways care: they read what changed and nothing else."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column that a trigger keeps: whoever writes, this release or the one before it, by code or by hand."""
    op.add_column("nodes", sa.Column("changed_in", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("ix_nodes_changed_in", "nodes", ["changed_in"])
    op.execute(
        "CREATE FUNCTION nodes_changed_in() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.changed_in := pg_current_xact_id()::text::bigint; RETURN NEW; END $$"
    )
    old, new = (
        ", ".join(
            f"{row}.{column}"
            for column in ("gateway_id", "session_no", "desired_version", "liveness", "status")
        )
        for row in ("OLD", "NEW")
    )
    op.execute(
        "CREATE TRIGGER nodes_changed_in BEFORE UPDATE ON nodes FOR EACH ROW"
        f" WHEN (({old}) IS DISTINCT FROM ({new})) EXECUTE FUNCTION nodes_changed_in()"
    )


def downgrade() -> None:
    """Releases before this one run on this schema as it is."""
