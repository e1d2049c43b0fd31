"""States of offers, and the frozen views that other modules get."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class OfferState(StrEnum):
    """What the owner said of an offer."""

    LISTED = "listed"
    PAUSED = "paused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class OfferView:
    """One offer with all that search shows and routing weighs.

    Prices are micro-units of the platform's currency per GPU and hour; memory is in GiB; throughput in TFLOPS as
    published (see docs/gpu-models.md); `reliability` is the probability of surviving 24 hours.
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

    @property
    def is_bookable(self) -> bool:
        """Whether search shows it."""
        return self.state is OfferState.LISTED and self.node_ready and self.gpus_free > 0

    def rate_per_hour_micros(self, gpus: int) -> int:
        """What `gpus` of its GPUs cost per hour."""
        return self.price_per_gpu_hour_micros * gpus


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
