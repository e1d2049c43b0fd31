"""Pure rules of the market: terms, what a node offers, what an offer row says of a node."""

from collections import Counter
from typing import Any

from gp4u_server.kit.money import MICROS_PER_UNIT
from gp4u_server.market.catalogue import Catalogue
from gp4u_server.market.errors import NodeHasNoGpu, TermsInvalid
from gp4u_server.market.types import GpuModel
from gp4u_server.nodes.types import NodeView


def check_terms(
    *, price_micros: int, floor_micros: int | None, duration_s_min: int, duration_s_max: int
) -> None:
    """Raise TermsInvalid where an owner's terms contradict each other."""
    if floor_micros is not None and floor_micros > price_micros:
        raise TermsInvalid(
            "The interruptible floor is above the price; nobody would ever pay the price then. "
            f"Set it to at most {price_micros / MICROS_PER_UNIT:.6g}.",
            field="interruptible_floor_micros",
        )
    if duration_s_min > duration_s_max:
        raise TermsInvalid(
            f"The shortest duration ({duration_s_min} s) is longer than the longest ({duration_s_max} s).",
            field="duration_s_min",
        )


def perf_per_dollar(model_tflops: float, price_micros: int) -> float:
    """fp16 TFLOPS per currency unit and hour, rounded to six digits so that it reads and pages the same everywhere."""
    return round(model_tflops * MICROS_PER_UNIT / price_micros, 6)


def offered_model(node: NodeView, catalogue: Catalogue) -> GpuModel:
    """The model that a node's offer is of: the one it has most cards of (the one with more memory on a tie).

    Raises NodeHasNoGpu when no card of the node is in the catalogue.
    """
    counts = Counter(device.model for device in node.devices)
    known = [model for name in counts if (model := catalogue.get(name)) is not None]
    if not known:
        what = ", ".join(sorted(counts)) or "none"
        raise NodeHasNoGpu(
            f"The node has no GPU that can be listed (it has: {what}).", findings=list(node.findings)
        )
    return max(known, key=lambda model: (counts[model.model], model.vram_gb, model.model))


def node_columns(node: NodeView, model: str) -> dict[str, Any]:
    """What an offer of this node's cards of `model` says about the node."""
    cards = [device for device in node.devices if device.model == model]
    record = node.record
    return {
        "node_name": node.name,
        "region": node.region,
        "cpus": node.cpus,
        "memory_gb": node.memory_gb,
        "disk_gb": node.disk_gb,
        "runtimes": sorted(node.runtimes),
        "simulated": node.simulated,
        "node_ready": node.is_usable,
        # A card that failed is not for rent; one that is kept for a job is, but not now.
        "gpus_total": sum(card.fault is None for card in cards),
        "gpus_free": sum(card.is_free for card in cards),
        "in_pool": node.in_pool,
        "window_starts_at": next((window.starts_at for window in node.windows), None),
        "reliability": round(record.reliability, 6),
        "reliability_low": round(record.reliability_low, 6),
        "reliability_high": round(record.reliability_high, 6),
        "record": record.sentence,
        "seen_s": round(record.seen_s, 3),
        "hazard_per_hour": node.hazard_per_hour,
    }


def model_columns(model: GpuModel) -> dict[str, Any]:
    """What an offer says about its GPU model."""
    return {
        "gpu_model": model.model,
        "gpu_name": model.name,
        "vram_gb": model.vram_gb,
        "fp16_tflops": model.fp16_tflops,
        "fp32_tflops": model.fp32_tflops,
        "memory_bandwidth_gb_s": model.memory_bandwidth_gb_s,
    }
