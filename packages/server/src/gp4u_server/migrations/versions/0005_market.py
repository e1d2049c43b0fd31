"""Tables of market."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BOOKABLE = sa.text("state = 'listed' AND node_ready AND gpus_free > 0")
STANDING = sa.text("state <> 'withdrawn'")
SORT_COLUMNS = (
    "price_per_gpu_hour_micros",
    "vram_gb",
    "reliability",
    "perf_per_dollar",
    "fp16_tflops",
    "listed_at",
)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _count(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _figure(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=False)


def upgrade() -> None:
    """Create the tables of market."""
    op.create_table(
        "offers",
        _text("id"),
        _text("node_id"),
        _text("node_name"),
        _text("owner_id"),
        _text("owner_name"),
        _text("gpu_model"),
        _text("gpu_name"),
        _count("vram_gb"),
        _count("gpus_total"),
        _count("gpus_free"),
        _count("price_per_gpu_hour_micros"),
        _count("interruptible_floor_micros", nullable=True),
        _count("duration_s_min"),
        _count("duration_s_max"),
        _text("region"),
        _count("cpus"),
        _count("memory_gb"),
        _count("disk_gb"),
        sa.Column("runtimes", postgresql.ARRAY(sa.Text), nullable=False),
        _figure("reliability"),
        _figure("hazard_per_hour"),
        _figure("fp16_tflops"),
        _figure("fp32_tflops"),
        _figure("memory_bandwidth_gb_s"),
        _figure("perf_per_dollar"),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("node_ready", sa.Boolean, nullable=False),
        _text("state"),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_offers"),
        sa.ForeignKeyConstraint(
            ["node_id"], ["nodes.id"], name="fk_offers_node_id_nodes", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name="fk_offers_owner_id_users", ondelete="RESTRICT"
        ),
        sa.CheckConstraint("state IN ('listed', 'paused', 'withdrawn')", name=op.f("ck_offers_state_known")),
        sa.CheckConstraint("gpus_free BETWEEN 0 AND gpus_total", name=op.f("ck_offers_free_within_total")),
        sa.CheckConstraint("price_per_gpu_hour_micros > 0", name=op.f("ck_offers_price_positive")),
        sa.CheckConstraint(
            "interruptible_floor_micros BETWEEN 1 AND price_per_gpu_hour_micros",
            name=op.f("ck_offers_floor_below_price"),
        ),
        sa.CheckConstraint(
            "duration_s_min BETWEEN 1 AND duration_s_max", name=op.f("ck_offers_durations_ordered")
        ),
    )
    op.create_index("uq_offers_node", "offers", ["node_id"], unique=True, postgresql_where=STANDING)
    op.create_index("ix_offers_owner", "offers", ["owner_id", "id"])
    op.create_index("ix_offers_refreshed", "offers", ["refreshed_at"], postgresql_where=STANDING)
    op.create_index(
        "ix_offers_model", "offers", ["gpu_model", "price_per_gpu_hour_micros"], postgresql_where=BOOKABLE
    )
    for column in SORT_COLUMNS:
        op.create_index(f"ix_offers_by_{column}", "offers", [column, "id"], postgresql_where=BOOKABLE)


def downgrade() -> None:
    """There is nothing before the first release to go back to."""
