"""Tables of nodes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STANDING = sa.text("status <> 'removed'")


def upgrade() -> None:
    """Create the tables of nodes."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("findings", postgresql.ARRAY(sa.Text), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("facts", postgresql.JSONB, nullable=False),
        sa.Column("cpus", sa.BigInteger, nullable=False),
        sa.Column("memory_mb", sa.BigInteger, nullable=False),
        sa.Column("disk_mb", sa.BigInteger, nullable=False),
        sa.Column("liveness", sa.Text, server_default=sa.text("'offline'"), nullable=False),
        sa.Column("gateway_id", sa.Text),
        sa.Column("session_no", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("desired_version", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("losses", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("online_ms", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("online_since", instant),
        sa.Column("last_seen_at", instant),
        sa.Column("enrolled_at", instant, nullable=False),
        sa.Column("removed_at", instant),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name="fk_nodes_owner_id_users", ondelete="RESTRICT"
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'verified', 'removed')", name=op.f("ck_nodes_status_known")
        ),
        sa.CheckConstraint(
            "liveness IN ('offline', 'online', 'suspect', 'lost')", name=op.f("ck_nodes_liveness_known")
        ),
        sa.CheckConstraint("octet_length(public_key) = 32", name=op.f("ck_nodes_public_key_is_ed25519")),
        sa.CheckConstraint("losses >= 0 AND online_ms >= 0", name=op.f("ck_nodes_record_not_negative")),
    )
    op.create_index("ix_nodes_owner", "nodes", ["owner_id", "id"], postgresql_where=STANDING)
    op.create_index("uq_nodes_name", "nodes", ["name"], unique=True, postgresql_where=STANDING)
    op.create_index("uq_nodes_public_key", "nodes", ["public_key"], unique=True, postgresql_where=STANDING)
    op.create_index(
        "ix_nodes_gateway",
        "nodes",
        ["gateway_id", "id"],
        postgresql_where=sa.text("liveness IN ('online', 'suspect')"),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("uuid", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("vram_mb", sa.BigInteger, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("present", sa.Boolean, server_default=sa.text("true"), nullable=False),
        sa.Column("enrolled", sa.Boolean, server_default=sa.text("true"), nullable=False),
        sa.Column("taken_as", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
        sa.ForeignKeyConstraint(
            ["node_id"], ["nodes.id"], name="fk_devices_node_id_nodes", ondelete="RESTRICT"
        ),
        sa.CheckConstraint("vram_mb > 0", name=op.f("ck_devices_vram_positive")),
    )
    op.create_index("ix_devices_node", "devices", ["node_id", "position"])
    op.create_index("uq_devices_uuid", "devices", ["uuid"], unique=True, postgresql_where=sa.text("enrolled"))
    op.create_table(
        "enrolment_tokens",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("node_name", sa.Text),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("expires_at", instant, nullable=False),
        sa.Column("used_at", instant),
        sa.PrimaryKeyConstraint("id", name="pk_enrolment_tokens"),
        sa.UniqueConstraint("token_hash", name="uq_enrolment_tokens_token_hash"),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name="fk_enrolment_tokens_owner_id_users", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_enrolment_tokens_owner", "enrolment_tokens", ["owner_id", "created_at"])
    op.create_table(
        "gateways",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("started_at", instant, nullable=False),
        sa.Column("seen_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gateways"),
    )


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
