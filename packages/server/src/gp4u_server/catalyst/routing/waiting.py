"""Why a job waits, and what would free it: pure. The more concrete, the better; at most five hints, the most helpful first."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gp4u_server.catalyst.jobs.notice import LiveRun
from gp4u_server.catalyst.routing.decisions import PASSING, WORDS, Candidate, Limit, Need, units, wanted_of
from gp4u_server.nodes.duty import shown_state
from gp4u_server.nodes.types import Duty, NodeView

HINTS_MAX = 5
_SPOKEN_MAX = 2


@dataclass(frozen=True)
class Hint:
    """One thing that would free the job. `kind` is stable: price, window, kind, pool, busy, node, making_room, resources,
    nobody. `at`: when it comes by itself, at the latest, where that is known."""

    kind: str
    sentence: str
    at: datetime | None = None

    def document(self) -> dict[str, Any]:
        """As it is stored with the job."""
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "at": None if self.at is None else self.at.isoformat(),
        }


@dataclass(frozen=True)
class Circumstances:
    """What the candidates do not say of themselves: how their nodes are, and what runs there."""

    nodes: Mapping[str, NodeView] = field(default_factory=dict)
    runs: Mapping[str, Sequence[LiveRun]] = field(default_factory=dict)


def hints(need: Need, candidates: Sequence[Candidate], known: Circumstances) -> list[Hint]:
    """What would free a job that nothing fits now."""
    if need.waits_for_node_id is not None:
        return [_its_own_node(need, candidates, known)]
    if not candidates:
        return [Hint("nobody", "no offer is listed at the moment")]
    found = [
        *_price(need, candidates),
        *_one_limit(candidates, Limit.WINDOW, "window"),
        *_one_limit(candidates, Limit.KIND, "kind"),
        *_pool(candidates),
        *_busy(candidates, known),
        *_nodes(candidates, known),
    ]
    return found[:HINTS_MAX] or _nowhere(need, candidates)


def making_room(node_name: str, leaving: int, until: datetime) -> Hint:
    """Others leave for it."""
    who = "an interruptible job leaves" if leaving == 1 else f"{leaving} interruptible jobs leave"
    return Hint("making_room", f"making room on {node_name}: {who} by {_clock(until)}", until)


def summary(need: Need, found: Sequence[Hint]) -> str:
    """What the job needs and what would free it, in a sentence."""
    said = "; ".join(hint.sentence for hint in found[:_SPOKEN_MAX])
    return f"Needs {wanted_of(need)}; {said}."


def _its_own_node(need: Need, candidates: Sequence[Candidate], known: Circumstances) -> Hint:
    """Where the policy is to wait for the node that the job ran on, nothing else helps."""
    policy = "as its policy says (failover.on_node_loss: wait)"
    for candidate in candidates:
        if candidate.offer.node_id == need.waits_for_node_id:
            node = known.nodes.get(candidate.offer.node_id)
            at = None if node is None else node.maintenance_until or node.quarantined_until
            said = f"it waits for {candidate.offer.node_name}, {policy}: {candidate.excluded_because}"
            return Hint("node", said, at)
    return Hint("node", f"it waits for the node it ran on, {policy}: that node is not listed any more")


def _price(need: Need, candidates: Sequence[Candidate]) -> list[Hint]:
    dear = [candidate for candidate in candidates if _fails_only(candidate, Limit.PRICE)]
    if not dear:
        return []
    cheapest = min(dear, key=lambda candidate: (candidate.rate_per_hour_micros, candidate.offer.id))
    free = sum(candidate.offer.gpus_free for candidate in dear)
    cap = need.rate_cap_micros or 0
    field_name = "budget.per_hour" if cap == need.spec.budget.per_hour_micros_max else "failover.per_hour"
    offer = cheapest.offer
    at = "from" if len({candidate.rate_per_hour_micros for candidate in dear}) > 1 else "at"
    return [
        Hint(
            "price",
            f"{_gpus(free, 'matching ')} free {at} {units(cheapest.rate_per_hour_micros)}/h "
            f"({offer.node_name}, {offer.gpu_model}), your cap is {units(cap)}/h ({field_name})",
        )
    ]


def _one_limit(candidates: Sequence[Candidate], limit: Limit, kind: str) -> list[Hint]:
    """Offers where nothing else is in the way; the limit's own sentence says what would help."""
    only = [candidate for candidate in candidates if _fails_only(candidate, limit)]
    return [
        Hint(
            kind,
            f"{candidate.offer.node_name} is free, but {candidate.failed[0][1]}",
            candidate.offer.window_starts_at if limit is Limit.WINDOW else None,
        )
        for candidate in only[:1]
    ]


def _pool(candidates: Sequence[Candidate]) -> list[Hint]:
    kept = [candidate for candidate in candidates if _fails_only(candidate, Limit.POOL)]
    if not kept:
        return []
    free = sum(candidate.offer.gpus_free for candidate in kept)
    return [
        Hint(
            "pool",
            f"{_gpus(free, 'matching ')} free in the replacement pool, for jobs that lost their node only",
        )
    ]


def _busy(candidates: Sequence[Candidate], known: Circumstances) -> list[Hint]:
    """Nodes where only free GPUs are missing: when the first run there ends, at the latest."""
    found = []
    for candidate in candidates:
        if not candidate.failed or any(
            limit not in (Limit.GPUS_FREE, Limit.TAKEN, Limit.JUST_FAILED) for limit, _ in candidate.failed
        ):
            continue
        offer, runs = candidate.offer, known.runs.get(candidate.offer.node_id, ())
        limit = candidate.failed[0][0]
        if limit is not Limit.GPUS_FREE:
            found.append(Hint("busy", f"{offer.node_name} {_would_do(limit)}"))
        elif runs:
            ends = min(run.ends_by for run in runs)
            which = "its job" if len(runs) == 1 else f"the first of its {len(runs)} jobs"
            found.append(
                Hint("busy", f"{offer.node_name} is busy: {which} ends by {_clock(ends)} at the latest", ends)
            )
        else:
            found.append(Hint("busy", f"{offer.node_name} {_would_do(limit)}"))
    timed = sorted(found, key=lambda hint: (hint.at is None, hint.at.timestamp() if hint.at else 0.0))
    if len(timed) > 2:
        return [*timed[:2], Hint("busy", f"{len(timed) - 2} more nodes are busy")]
    return timed


def _nodes(candidates: Sequence[Candidate], known: Circumstances) -> list[Hint]:
    """Nodes that would do if they were there."""
    away = [
        candidate
        for candidate in candidates
        if any(limit is Limit.NODE_OFFLINE for limit, _ in candidate.failed)
        and all(limit in PASSING for limit, _ in candidate.failed)
    ]
    found = [_node(candidate, known.nodes.get(candidate.offer.node_id)) for candidate in away]
    timed = sorted(found, key=lambda hint: (hint.at is None, hint.at.timestamp() if hint.at else 0.0))
    if len(timed) > 2:
        return [*timed[:2], Hint("node", f"{len(timed) - 2} more nodes are away")]
    return timed


def _node(candidate: Candidate, node: NodeView | None) -> Hint:
    name = candidate.offer.node_name
    if node is None:
        return Hint("node", f"{name} {_would_do(Limit.NODE_OFFLINE)}")
    state = shown_state(node.liveness, node.duty)
    if node.duty is Duty.QUARANTINED and node.quarantined_until is not None:
        until = node.quarantined_until
        return Hint("node", f"{name} is quarantined until {_clock(until)}", until)
    if node.duty is not Duty.IN_SERVICE:
        if node.maintenance_until is not None:
            until = node.maintenance_until
            return Hint("node", f"{name} is in maintenance until {_clock(until)}", until)
        word = "being drained" if node.duty is Duty.DRAINING else "in maintenance"
        return Hint("node", f"{name} is {word} until its owner puts it back in service")
    return Hint("node", f"{name} is {state}, and would do when it is back")


def _nowhere(need: Need, candidates: Sequence[Candidate]) -> list[Hint]:
    """Nobody has it: say how far the best one is off, where that can be said in a number."""
    wanted = need.spec.resources
    most = {
        Limit.GPUS_TOTAL: ("GPUs in one node", wanted.gpus, max(c.offer.gpus_total for c in candidates)),
        Limit.VRAM: ("GB of GPU memory", wanted.vram_gb_min, max(c.offer.vram_gb for c in candidates)),
        Limit.CPUS: ("CPU cores", wanted.cpus, max(c.offer.cpus for c in candidates)),
        Limit.MEMORY: ("GB of memory", wanted.memory_gb, max(c.offer.memory_gb for c in candidates)),
        Limit.DISK: ("GB of disk", wanted.disk_gb, max(c.offer.disk_gb for c in candidates)),
    }
    counts = Counter(limit for candidate in candidates for limit, _ in candidate.failed)
    reasons = ", ".join(f"{count} {WORDS[limit]}" for limit, count in counts.most_common(3))
    found = [Hint("nobody", f"none of {len(candidates)} listed offers has that ({reasons})")]
    found += [
        Hint("resources", f"you ask for {asked} {what}, the most that is listed is {best}")
        for what, asked, best in most.values()
        if asked > best
    ]
    return found[:HINTS_MAX]


def _fails_only(candidate: Candidate, limit: Limit) -> bool:
    return bool(candidate.failed) and all(failed is limit for failed, _ in candidate.failed)


def _would_do(limit: Limit) -> str:
    return f"would do as soon as it can be had ({WORDS[limit]})"


def _gpus(count: int, what: str) -> str:
    return f"{count} {what}GPU is" if count == 1 else f"{count} {what}GPUs are"


def _clock(at: datetime) -> str:
    """An instant in a sentence, to the minute. Programs read `at`."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
