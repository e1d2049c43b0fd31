"""Tables of the market."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base

BOOKABLE = "state = 'listed' AND node_ready AND gpus_free > 0"
"""What search shows. Written the same way in queries and indexes, so that the partial indexes serve."""
STANDING = "state <> 'withdrawn'"
SORT_COLUMNS = (
    "price_per_gpu_hour_micros",
    "vram_gb",
    "reliability",
    "perf_per_dollar",
    "fp16_tflops",
    "listed_at",
)


class OfferRow(Base):
    """One offer, with everything that search filters, sorts and shows."""

    __tablename__ = "offers"
    id: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id", ondelete="RESTRICT"))
    node_name: Mapped[str]
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    owner_name: Mapped[str]
    gpu_model: Mapped[str]
    gpu_name: Mapped[str]
    vram_gb: Mapped[int]
    gpus_total: Mapped[int]
    gpus_free: Mapped[int]
    price_per_gpu_hour_micros: Mapped[int]
    interruptible_floor_micros: Mapped[int | None]
    duration_s_min: Mapped[int]
    duration_s_max: Mapped[int]
    region: Mapped[str]
    cpus: Mapped[int]
    memory_gb: Mapped[int]
    disk_gb: Mapped[int]
    runtimes: Mapped[list[str]]
    reliability: Mapped[float] = mapped_column(Double)
    reliability_low: Mapped[float] = mapped_column(Double, server_default=text("0"))
    reliability_high: Mapped[float] = mapped_column(Double, server_default=text("1"))
    record: Mapped[str] = mapped_column(server_default=text("''"))
    seen_s: Mapped[float] = mapped_column(Double, server_default=text("0"))
    hazard_per_hour: Mapped[float] = mapped_column(Double)
    fp16_tflops: Mapped[float] = mapped_column(Double)
    fp32_tflops: Mapped[float] = mapped_column(Double)
    memory_bandwidth_gb_s: Mapped[float] = mapped_column(Double)
    perf_per_dollar: Mapped[float] = mapped_column(Double)
    simulated: Mapped[bool]
    node_ready: Mapped[bool]
    state: Mapped[str]
    listed_at: Mapped[datetime]
    refreshed_at: Mapped[datetime]
    in_pool: Mapped[bool] = mapped_column(server_default=text("false"))
    window_starts_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("state IN ('listed', 'paused', 'withdrawn')", name="state_known"),
        CheckConstraint("gpus_free BETWEEN 0 AND gpus_total", name="free_within_total"),
        CheckConstraint("price_per_gpu_hour_micros > 0", name="price_positive"),
        CheckConstraint(
            "interruptible_floor_micros BETWEEN 1 AND price_per_gpu_hour_micros", name="floor_below_price"
        ),
        CheckConstraint("duration_s_min BETWEEN 1 AND duration_s_max", name="durations_ordered"),
        Index("uq_offers_node", "node_id", unique=True, postgresql_where=text(STANDING)),
        Index("ix_offers_owner", "owner_id", "id"),
        Index("ix_offers_refreshed", "refreshed_at", postgresql_where=text(STANDING)),
        Index("ix_offers_model", "gpu_model", "price_per_gpu_hour_micros", postgresql_where=text(BOOKABLE)),
        *(
            Index(f"ix_offers_by_{column}", column, "id", postgresql_where=text(BOOKABLE))
            for column in SORT_COLUMNS
        ),
    )
