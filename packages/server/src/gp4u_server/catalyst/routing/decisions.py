"""Where a job runs: pure. Hard limits first, then the least expected cost to finish.

    expected cost = run + losses + movement + setbacks                          (micro-units)
    run      = rate * T              T: predicted run time on this card
    losses   = hazard * T * rate * (lost work + recovery)
    movement = rate * bytes / link   a slower link to another region
    setbacks = run * SETBACK_WEIGHT * sum of 2^(-age / SETBACK_HALF_LIFE_S) over what this job suffered on this node

What a job needs is not known beforehand, so T compares cards by their published throughput: a job counts as
`REFERENCE_RUN_S` on a card of `REFERENCE_TFLOPS` (an RTX 3090), less the part that its own progress says is done, and
a card of twice that throughput needs half the time. The absolute sum is therefore no forecast of the bill, but the
order of the candidates is right whenever time scales with throughput. A card's throughput is the larger of its
published fp16 and fp32 rates. Losses and movement are not billed (lost work is refunded, fetching is free); they
are the renter's waiting time, valued at the rate of the card he would wait for.

A setback is a run of this very job that a node lost or could not start. It never bars a node for good: a lost node is
no candidate until the gateway has proven it again (`node_ready`), one that failed this job a moment ago is passed over
as long as any other fits, and from then on the setback is a cost that fades. The weight is a choice, not a
measurement: a node that has just failed a job must be four times cheaper than the next one to be taken again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gp4u_protocol.job_spec import BookingKind, CheckpointSource, JobSpec, OnNodeLoss, Protection
from gp4u_protocol.promise import whole_hindrance

from gp4u_server.kit.money import MICROS_PER_UNIT
from gp4u_server.market.types import OfferState, OfferView

REFERENCE_TFLOPS = 35.6
REFERENCE_RUN_S = 3600.0
RUN_S_MIN = 60.0
RECOVERY_S = 10.0
"""From a node's death to the job's next step, the restore aside (the platform's aim is 8 s)."""
LINK_BYTES_PER_S = 100e6
LINK_BYTES_PER_S_ACROSS = 25e6
"""Assumed rates of fetching within a region and from another one; measured ones may replace them."""
SETBACK_WEIGHT = 3.0
SETBACK_HALF_LIFE_S = 1800.0
SETBACK_FRESH_S = 120.0
"""A node with a setback younger than this is passed over while another one fits."""
RETRY_PAUSE_S_MAX = 15.0


class Limit(StrEnum):
    """A hard limit that an offer failed."""

    NOT_LISTED = "not_listed"
    NODE_OFFLINE = "node_offline"
    JUST_FAILED = "just_failed"
    OTHER_NODE = "other_node"
    GPU_MODEL = "gpu_model"
    VRAM = "vram"
    REGION = "region"
    GPUS_TOTAL = "gpus_total"
    GPUS_FREE = "gpus_free"
    PRICE = "price"
    DURATION = "duration"
    RUNTIME = "runtime"
    CPUS = "cpus"
    MEMORY = "memory"
    DISK = "disk"
    TAKEN = "taken"
    KIND = "kind"
    POOL = "pool"
    WINDOW = "window"
    DUMP = "dump"


PASSING = frozenset({Limit.NODE_OFFLINE, Limit.JUST_FAILED, Limit.GPUS_FREE, Limit.TAKEN, Limit.WINDOW})
"""Limits that waiting may cure."""

WORDS = {
    Limit.NOT_LISTED: "not listed",
    Limit.NODE_OFFLINE: "offline",
    Limit.JUST_FAILED: "just failed this job",
    Limit.OTHER_NODE: "not the node that the job waits for",
    Limit.GPU_MODEL: "another GPU model",
    Limit.VRAM: "too little GPU memory",
    Limit.REGION: "another region",
    Limit.GPUS_TOTAL: "too few GPUs",
    Limit.GPUS_FREE: "all GPUs busy",
    Limit.PRICE: "too expensive",
    Limit.DURATION: "duration out of bounds",
    Limit.RUNTIME: "not the runtime it needs",
    Limit.CPUS: "too few CPU cores",
    Limit.MEMORY: "too little memory",
    Limit.DISK: "too little disk",
    Limit.TAKEN: "taken meanwhile",
    Limit.KIND: "no interruptible bookings",
    Limit.POOL: "in the replacement pool",
    Limit.WINDOW: "maintenance too soon",
    Limit.DUMP: "cannot restore the whole job",
}


@dataclass(frozen=True)
class Need:
    """What a job needs, in the router's terms. `models` and `regions` empty mean any.

    `setbacks`: node → how many seconds ago each run of this job failed there. `home_region`, `home_node_id`: where it
    was last. `is_replacement`: it has run before, so its own policy for moves applies (spec.failover). `ends_by`: its longest
    duration is over then, if it begins now.
    """

    spec: JobSpec
    models: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    setbacks: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fraction_left: float = 1.0
    bytes_to_fetch: int = 0
    home_region: str | None = None
    home_node_id: str | None = None
    is_replacement: bool = False
    ends_by: datetime | None = None
    unrestorable: Mapping[str, str] = field(default_factory=dict)
    """Node → why the dump of the whole job that this one goes on from cannot be restored there."""

    @property
    def rate_cap_micros(self) -> int | None:
        """The most that the job pays per hour; a replacement may have a lower ceiling than the budget's."""
        caps = [self.spec.budget.per_hour_micros_max]
        if self.is_replacement:
            caps.append(self.spec.failover.per_hour_micros_max)
        return min((cap for cap in caps if cap is not None), default=None)

    @property
    def waits_for_node_id(self) -> str | None:
        """The only node that will do, where the policy is to wait for it."""
        waits = self.is_replacement and self.spec.failover.on_node_loss is OnNodeLoss.WAIT
        return self.home_node_id if waits else None


@dataclass(frozen=True)
class Candidate:
    """One offer with every number that counted. `failed` lists the hard limits it failed; empty means it fits."""

    offer: OfferView
    rate_per_hour_micros: int
    failed: tuple[tuple[Limit, str], ...]
    expected_run_s: float
    expected_loss_micros: int
    data_movement_micros: int
    setback_micros: int
    expected_cost_micros: int

    @property
    def fits(self) -> bool:
        """No hard limit is in the way."""
        return not self.failed

    @property
    def excluded_because(self) -> str | None:
        """Why not, for people."""
        return "; ".join(sentence for _, sentence in self.failed) or None

    def without(self, limit: Limit, sentence: str) -> "Candidate":
        """The same candidate, out of the running."""
        return replace(self, failed=(*self.failed, (limit, sentence)))


def need_of(
    spec: JobSpec,
    *,
    models: Sequence[str],
    setbacks: Sequence[tuple[str, float]] = (),
    progress: dict[str, object] | None = None,
    bytes_to_fetch: int = 0,
    home_region: str | None = None,
    home_node_id: str | None = None,
    is_replacement: bool = False,
    ends_by: datetime | None = None,
) -> Need:
    """A job's need; `progress` is what the job said last ({"step", "total_steps"}), `setbacks` are (node, seconds ago)."""
    step, total = (progress or {}).get("step"), (progress or {}).get("total_steps")
    left = 1.0
    if isinstance(step, int) and isinstance(total, int) and total > 0:
        left = min(1.0, max(0.0, 1 - step / total))
    ages: dict[str, list[float]] = {}
    for node_id, age_s in setbacks:
        ages.setdefault(node_id, []).append(max(0.0, age_s))
    return Need(
        spec=spec,
        models=frozenset(models),
        regions=frozenset(region.lower() for region in spec.resources.regions),
        setbacks=ages,
        fraction_left=left,
        bytes_to_fetch=bytes_to_fetch,
        home_region=home_region,
        home_node_id=home_node_id,
        is_replacement=is_replacement,
        ends_by=ends_by,
    )


def weigh(need: Need, offers: Sequence[OfferView]) -> list[Candidate]:
    """Every offer with its numbers; those that fit first, the least expected cost to finish first. Deterministic.

    Nodes of the replacement pool fit only jobs that lost theirs, and for those they come before the market.
    """
    candidates = _passing_over(need, [_candidate(need, offer) for offer in offers])
    candidates = _restoring_whole(need, candidates)
    return sorted(
        candidates,
        key=lambda candidate: (
            len(candidate.failed),
            not candidate.offer.in_pool,
            candidate.expected_cost_micros,
            candidate.rate_per_hour_micros,
            candidate.offer.id,
        ),
    )


def put_first(candidates: list[Candidate], node_id: str | None) -> list[Candidate]:
    """The same candidates, with the one that was prepared for the job before all others if it fits."""
    return sorted(
        candidates, key=lambda candidate: not (candidate.fits and candidate.offer.node_id == node_id)
    )


def _passing_over(need: Need, candidates: list[Candidate]) -> list[Candidate]:
    """Leave out those that failed this job a moment ago, unless nothing else fits."""

    def is_fresh(candidate: Candidate) -> bool:
        return any(age_s < SETBACK_FRESH_S for age_s in need.setbacks.get(candidate.offer.node_id, ()))

    if not any(candidate.fits and not is_fresh(candidate) for candidate in candidates):
        return candidates
    return [
        candidate.without(Limit.JUST_FAILED, "the node just failed this job, and another one fits")
        if candidate.fits and is_fresh(candidate)
        else candidate
        for candidate in candidates
    ]


def _restoring_whole(need: Need, candidates: list[Candidate]) -> list[Candidate]:
    """Leave out those that would begin with the folder alone (`checkpoint.source: auto`), unless nothing else fits."""
    if not any(each.fits and each.offer.node_id not in need.unrestorable for each in candidates):
        return candidates
    return [
        each.without(
            Limit.DUMP, f"another one can restore the whole job: {need.unrestorable[each.offer.node_id]}"
        )
        if each.fits and each.offer.node_id in need.unrestorable
        else each
        for each in candidates
    ]


def saved_whole(need: Need, offer: OfferView) -> bool:
    """Whether the job is saved, and restored, whole on this offer's node."""
    source = need.spec.checkpoint.source
    if source is CheckpointSource.APPLICATION or whole_hindrance(need.spec) is not None:
        return False
    return need.spec.whole_runtime in offer.runtimes and offer.node_id not in need.unrestorable


def _candidate(need: Need, offer: OfferView) -> Candidate:
    spec = need.spec
    rate = offer.rate_per_hour_micros(spec.resources.gpus, spec.kind)
    per_s = rate / timedelta(hours=1).total_seconds()
    throughput = max(offer.fp16_tflops, offer.fp32_tflops) or REFERENCE_TFLOPS
    run_s = max(RUN_S_MIN, REFERENCE_RUN_S * need.fraction_left * REFERENCE_TFLOPS / throughput)
    # Without protection a loss costs everything done so far; with it, half a checkpoint interval on average.
    lost_s = run_s / 2 if spec.protection is Protection.NONE else spec.checkpoint.every_s / 2
    losses = offer.hazard_per_hour * run_s / 3600
    loss_micros = round(losses * (min(lost_s, run_s / 2) + RECOVERY_S) * per_s)
    near = need.home_region is None or need.home_region == offer.region
    movement = round(need.bytes_to_fetch / (LINK_BYTES_PER_S if near else LINK_BYTES_PER_S_ACROSS) * per_s)
    memory = sum(2 ** (-age_s / SETBACK_HALF_LIFE_S) for age_s in need.setbacks.get(offer.node_id, ()))
    setback_micros = round(run_s * per_s * SETBACK_WEIGHT * memory)
    return Candidate(
        offer=offer,
        rate_per_hour_micros=rate,
        failed=tuple(_failed(need, offer, rate)),
        expected_run_s=round(run_s, 3),
        expected_loss_micros=loss_micros,
        data_movement_micros=movement,
        setback_micros=setback_micros,
        expected_cost_micros=round(run_s * per_s) + loss_micros + movement + setback_micros,
    )


def _failed(need: Need, offer: OfferView, rate: int) -> list[tuple[Limit, str]]:
    wanted, spec = need.spec.resources, need.spec
    cap = need.rate_cap_micros
    is_own_cap = cap != spec.budget.per_hour_micros_max
    stays = need.is_replacement and spec.failover.same_region_only and need.home_region is not None
    waits_for = need.waits_for_node_id
    checks = (
        (offer.state is not OfferState.LISTED, Limit.NOT_LISTED, "the offer is not listed"),
        (not offer.node_ready, Limit.NODE_OFFLINE, "the node is not online"),
        (
            bool(need.models) and offer.gpu_model not in need.models,
            Limit.GPU_MODEL,
            f"{offer.gpu_model} is not among the wanted models",
        ),
        (
            offer.vram_gb < wanted.vram_gb_min,
            Limit.VRAM,
            f"needs {wanted.vram_gb_min} GB of GPU memory, has {offer.vram_gb}",
        ),
        (
            bool(need.regions) and offer.region not in need.regions,
            Limit.REGION,
            f"{offer.region} is not among the wanted regions",
        ),
        (
            stays and offer.region != need.home_region,
            Limit.REGION,
            f"{offer.region} is not {need.home_region}, where the job stays (failover.same_region_only)",
        ),
        (
            waits_for is not None and offer.node_id != waits_for,
            Limit.OTHER_NODE,
            "the job waits for the node it ran on (failover.on_node_loss)",
        ),
        (
            offer.gpus_total < wanted.gpus,
            Limit.GPUS_TOTAL,
            f"needs {wanted.gpus} GPUs, has {offer.gpus_total}",
        ),
        (
            offer.gpus_free < wanted.gpus <= offer.gpus_total,
            Limit.GPUS_FREE,
            f"needs {wanted.gpus} free GPUs, has {offer.gpus_free}",
        ),
        (
            cap is not None and rate > cap,
            Limit.PRICE,
            f"costs {units(rate)} per hour, the cap{' for replacements' if is_own_cap else ''} is {units(cap or 0)}",
        ),
        (
            not offer.duration_s_min <= spec.duration_s_max <= offer.duration_s_max,
            Limit.DURATION,
            f"may run {spec.duration_s_max} s, the owner takes {offer.duration_s_min} to {offer.duration_s_max} s",
        ),
        (
            spec.kind is BookingKind.INTERRUPTIBLE and offer.interruptible_floor_micros is None,
            Limit.KIND,
            "its owner takes no interruptible bookings",
        ),
        (
            offer.in_pool and not (need.is_replacement and spec.kind is BookingKind.ON_DEMAND),
            Limit.POOL,
            "it is in the replacement pool, for on-demand jobs that lost their node",
        ),
        (
            need.ends_by is not None
            and offer.window_starts_at is not None
            and offer.window_starts_at < need.ends_by,
            Limit.WINDOW,
            f"its maintenance begins {offer.window_starts_at:%Y-%m-%d %H:%M} UTC, before the job's max_duration is over"
            if offer.window_starts_at is not None
            else "",
        ),
        (
            offer.node_id in need.unrestorable and spec.checkpoint.source is CheckpointSource.TRANSPARENT,
            Limit.DUMP,
            f"it cannot restore the whole job: {need.unrestorable.get(offer.node_id)}",
        ),
        (spec.runtime not in offer.runtimes, Limit.RUNTIME, f"the node does not offer `{spec.runtime}`"),
        (offer.cpus < wanted.cpus, Limit.CPUS, f"needs {wanted.cpus} CPU cores, has {offer.cpus}"),
        (
            offer.memory_gb < wanted.memory_gb,
            Limit.MEMORY,
            f"needs {wanted.memory_gb} GB of memory, has {offer.memory_gb}",
        ),
        (
            offer.disk_gb < wanted.disk_gb,
            Limit.DISK,
            f"needs {wanted.disk_gb} GB of disk, has {offer.disk_gb}",
        ),
    )
    return [(limit, sentence) for is_failed, limit, sentence in checks if is_failed]


def counts_by_reason(candidates: Sequence[Candidate]) -> dict[str, int]:
    """How many candidates failed each limit."""
    return dict(Counter(limit.value for candidate in candidates for limit, _ in candidate.failed))


def retry_pause(attempts: int) -> timedelta:
    """How long to wait after `attempts` attempts that found nothing: 1, 2, 4, 8, then 15 seconds."""
    return timedelta(seconds=min(2.0 ** min(attempts, 8), RETRY_PAUSE_S_MAX))


def summary_of_choice(
    chosen: Candidate, candidates: Sequence[Candidate], *, is_prepared: bool = False
) -> str:
    """Why this one, in a sentence. `is_prepared`: it stood by for this job."""
    fitting = sum(candidate.fits for candidate in candidates)
    if is_prepared:
        why = "it stood by for this job"
    elif fitting == 1:
        why = f"the only one of {len(candidates)} offers that fits"
    else:
        why = f"the least expected cost to finish of {fitting} offers that fit ({len(candidates)} looked at)"
    offer = chosen.offer
    return f"{offer.node_name} ({offer.gpu_model}, {offer.region}) at {units(chosen.rate_per_hour_micros)} per hour: {why}."


def wanted_of(need: Need) -> str:
    """What the job needs, in a few words."""
    resources = need.spec.resources
    interruptible = "interruptible " if need.spec.kind is BookingKind.INTERRUPTIBLE else ""
    parts = [f"{resources.gpus} {interruptible}GPU" + ("s" if resources.gpus > 1 else "")]
    if need.models:
        parts.append(f"of {' or '.join(sorted(resources.gpu_models))}")
    if resources.vram_gb_min:
        parts.append(f"with ≥ {resources.vram_gb_min} GB")
    if need.regions:
        parts.append(f"in {' or '.join(sorted(need.regions))}")
    elif need.is_replacement and need.spec.failover.same_region_only and need.home_region:
        parts.append(f"in {need.home_region}")
    if need.rate_cap_micros is not None:
        parts.append(f"at ≤ {units(need.rate_cap_micros)}/h")
    return " ".join(parts)


def units(micros: int) -> str:
    """Micro-units as currency units, at least two decimals, none lost: 420000 → 0.42."""
    whole, rest = divmod(micros, MICROS_PER_UNIT)
    decimals = f"{rest:06d}".rstrip("0")
    return f"${whole}.{decimals:0<2}"
