"""States of offers, and the frozen views that other modules get."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gp4u_protocol.job_spec import BookingKind


class OfferState(StrEnum):
    """What the owner said of an offer."""

    LISTED = "listed"
    PAUSED = "paused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class OfferView:
    """One offer with all that search shows and routing weighs.

    Prices are micro-units of the platform's currency per GPU and hour; memory is in GiB; throughput in TFLOPS as
    published (see docs/gpu-models.md); `reliability` is the probability of surviving 24 hours. `in_pool`: it takes
    replacements only. `window_starts_at`: the node's next maintenance begins then, or has begun.
    """

    id: str
    node_id: str
    node_name: str
    owner_id: str
    owner_name: str
    gpu_model: str
    gpu_name: str
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
    disk_gb: int
    runtimes: tuple[str, ...]
    reliability: float
    hazard_per_hour: float
    fp16_tflops: float
    fp32_tflops: float
    memory_bandwidth_gb_s: float
    perf_per_dollar: float
    simulated: bool
    node_ready: bool
    state: OfferState
    listed_at: datetime
    reliability_low: float = 0.0  # with `nodes.reliability.INTERVAL`, it lies between these two
    reliability_high: float = 1.0
    record: str = ""
    seen_s: float = 0.0
    in_pool: bool = False
    window_starts_at: datetime | None = None

    @property
    def is_bookable(self) -> bool:
        """Whether search shows it."""
        return self.state is OfferState.LISTED and self.node_ready and self.gpus_free > 0 and not self.in_pool

    def rate_per_hour_micros(self, gpus: int, kind: BookingKind = BookingKind.ON_DEMAND) -> int:
        """What `gpus` of its GPUs cost per hour. Interruptible ones cost the floor that the owner set; where he set none,
        the offer takes no interruptible booking, and the answer is the price."""
        price = self.price_per_gpu_hour_micros
        if kind is BookingKind.INTERRUPTIBLE and self.interruptible_floor_micros is not None:
            price = self.interruptible_floor_micros
        return price * gpus


@dataclass(frozen=True)
class TakenDevices:
    """GPUs that were just taken for a booking: device ids and the UUIDs that the agent knows them by."""

    offer: OfferView
    device_ids: tuple[str, ...]
    device_uuids: tuple[str, ...]


@dataclass(frozen=True)
class GpuModel:
    """One model of the catalogue with its published figures."""

    model: str
    name: str
    vram_gb: int
    fp16_tflops: float
    fp32_tflops: float
    memory_bandwidth_gb_s: float
    tdp_w: int | None

    @property
    def best_tflops(self) -> float:
        """The faster of both precisions: what mixed-precision training can hope for on shader units."""
        return max(self.fp16_tflops, self.fp32_tflops)
