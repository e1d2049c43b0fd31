"""Request and response models of the market: offers, search, models."""

from datetime import datetime

from gp4u_protocol.job_spec import Strict
from pydantic import Field

from gp4u_server.market.types import OfferState

PRICE_MICROS_MIN = 1_000
PRICE_MICROS_MAX = 1_000_000_000


class OfferIn(Strict):
    """An owner's terms for a node's GPUs."""

    node_id: str
    price_per_gpu_hour_micros: int = Field(ge=PRICE_MICROS_MIN, le=PRICE_MICROS_MAX)
    interruptible_floor_micros: int | None = Field(default=None, ge=PRICE_MICROS_MIN, le=PRICE_MICROS_MAX)
    duration_s_min: int = Field(default=60, ge=60, le=2_592_000)
    duration_s_max: int = Field(default=604_800, ge=60, le=31_536_000)


class OfferPatch(Strict):
    price_per_gpu_hour_micros: int | None = Field(default=None, ge=PRICE_MICROS_MIN, le=PRICE_MICROS_MAX)
    interruptible_floor_micros: int | None = Field(default=None, ge=PRICE_MICROS_MIN, le=PRICE_MICROS_MAX)
    duration_s_min: int | None = Field(default=None, ge=60, le=2_592_000)
    duration_s_max: int | None = Field(default=None, ge=60, le=31_536_000)
    state: OfferState | None = None


class OfferOut(Strict):
    id: str
    node_id: str
    node_name: str
    owner_name: str
    gpu_model: str
    gpu_name: str = Field(description="for people, e.g. NVIDIA GeForce RTX 4090")
    vram_gb: int
    gpus_total: int
    gpus_free: int
    price_per_gpu_hour_micros: int
    interruptible_floor_micros: int | None
    duration_s_min: int
    duration_s_max: int
    region: str
    cpus: int
    memory_gb: int
    reliability: float = Field(description="probability of surviving 24 h, Bayesian mean")
    reliability_low: float = Field(default=0.0, description="lower end of its 90 % interval")
    reliability_high: float = Field(default=1.0, description="upper end of its 90 % interval")
    record: str = Field(
        default="", description='uptime and sample size in words, such as "99.1 %, 41 days seen"'
    )
    seen_s: float = Field(default=0.0, description="time online and time lost: what these figures rest on")
    fp16_tflops: float
    fp32_tflops: float
    memory_bandwidth_gb_s: float
    perf_per_dollar: float = Field(description="fp16 TFLOPS per currency unit and hour")
    simulated: bool
    state: OfferState
    listed_at: datetime
    in_pool: bool = Field(
        default=False, description="it takes only jobs that lost their node, and is not in search"
    )
    window_starts_at: datetime | None = Field(
        default=None, description="its node's next maintenance: it takes nothing that would run into it"
    )


class FacetValueOut(Strict):
    value: str
    count: int


class OfferPageOut(Strict):
    items: list[OfferOut]
    next_cursor: str | None
    total: int
    facets: dict[str, list[FacetValueOut]] = Field(
        description="gpu_model, region, vram_gb → counts under the filter"
    )


class GpuModelOut(Strict):
    model: str
    name: str
    vram_gb: int
    fp16_tflops: float
    fp32_tflops: float
    memory_bandwidth_gb_s: float
    tdp_w: int | None
