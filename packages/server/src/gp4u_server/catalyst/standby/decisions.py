"""Which node stands by, and whether it still does. Pure.

A candidate is what the router would move the job to now. Its score (expected cost to finish) is raised where the second
node would probably die with the first: `SAME_OWNER`, `SAME_REGION`. The factors are choices, not measurements: another
owner is preferred to one of the same as long as it is no more than half as dear again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gp4u_protocol.messages import RestorePoint

from gp4u_server.catalyst.standby.ports import Scored
from gp4u_server.catalyst.standby.types import EndReason
from gp4u_server.kit.money import MICROS_PER_UNIT

SAME_OWNER = 1.5
SAME_REGION = 1.2
BEHIND_S_MAX = 30.0
"""A standby that does not hold a checkpoint this long after its commit is not ready any more, from that commit on."""
PREPARED_S_MAX = 1800.0
"""A node that has not once been ready after this long is given up for another."""
LOOK_EVERY_S = 5.0
NONE_RETRY_S = (5.0, 15.0, 30.0, 60.0)
BPS = 10_000


@dataclass(frozen=True)
class Chosen:
    """The node to stand by, and what that costs per hour."""

    scored: Scored
    rate_per_hour_micros: int


@dataclass(frozen=True)
class NoneFits:
    """No node can stand by now; `why` is a sentence for the renter."""

    why: str


def standby_rate_micros(rate_per_hour_micros: int, rate_bps: int) -> int:
    """What standing by costs per hour beside a node that would cost `rate_per_hour_micros`: rounded down, at least 1."""
    return max(1, rate_per_hour_micros * rate_bps // BPS)


def choose(
    candidates: Sequence[Scored],
    *,
    gpus: int,
    home_node_id: str,
    home_rate_micros: int,
    rate_bps: int,
    per_hour_micros_max: int | None,
    spoken_for: Mapping[str, int],
    unprepared: Collection[str] = (),
) -> Chosen | NoneFits:
    """The best node beside the one that the job runs on.

    `unprepared`: nodes that did not get ready for this job before. `spoken_for`: node → GPUs that other standbys count on there; a free GPU is promised once. `per_hour_micros_max`: the
    budget's ceiling, which holds for the job and its standby together.
    """
    home = next((each.offer for each in candidates if each.offer.node_id == home_node_id), None)
    others = [each for each in candidates if each.offer.node_id not in (home_node_id, *unprepared)]
    fitting = [each for each in others if each.fits]
    if not fitting:
        return NoneFits("No second node fits the job at present.")
    free = [each for each in fitting if each.offer.gpus_free - spoken_for.get(each.offer.node_id, 0) >= gpus]
    if not free:
        return NoneFits("Every second node that fits stands by for another job already.")
    paid = [Chosen(each, standby_rate_micros(each.rate_per_hour_micros, rate_bps)) for each in free]
    if per_hour_micros_max is not None:
        paid = [each for each in paid if home_rate_micros + each.rate_per_hour_micros <= per_hour_micros_max]
        if not paid:
            return NoneFits(
                f"A standby beside the job would go over its budget of {_units(per_hour_micros_max)} per hour."
            )

    def weight(choice: Chosen) -> tuple[float, int, str]:
        offer = choice.scored.offer
        factor = 1.0
        if home is not None and offer.owner_id == home.owner_id:
            factor *= SAME_OWNER
        if home is not None and offer.region == home.region:
            factor *= SAME_REGION
        return choice.scored.expected_cost_micros * factor, choice.rate_per_hour_micros, offer.id

    return min(paid, key=weight)


class Finding(StrEnum):
    """What a look at a standby found."""

    READY = "ready"
    NOT_READY = "not_ready"
    LEAVE = "leave"  # its node can not take the job over: end it, choose another


@dataclass(frozen=True)
class Look:
    """What is known of a standby now. `offer_stands`: its node is online, in service and listed."""

    offer_stands: bool
    node_wavers: bool
    gpus_free: int
    gpus: int
    prepared: bool
    held: RestorePoint | None
    newest: RestorePoint | None
    behind_since: datetime | None
    chosen_at: datetime
    was_ready: bool
    was_ever_ready: bool


def judge(look: Look, now: datetime) -> tuple[Finding, EndReason | None]:
    """Whether the node could take the job over now without a download, and if it never will, why."""
    if not look.offer_stands:
        # Beats that are missing may come back; the meter stands still meanwhile, and a lost node is no candidate.
        return (Finding.NOT_READY, None) if look.node_wavers else (Finding.LEAVE, EndReason.NODE_GONE)
    if look.gpus_free < look.gpus:
        return Finding.LEAVE, EndReason.GPUS_TAKEN
    late = now - look.chosen_at > timedelta(seconds=PREPARED_S_MAX)
    if not look.was_ever_ready and late and look.newest is not None:
        return Finding.LEAVE, EndReason.NOT_PREPARED
    if not look.prepared or look.held is None or look.newest is None:
        return Finding.NOT_READY, None
    if is_at_least(look.held, look.newest):
        return Finding.READY, None
    behind = look.behind_since is not None and now - look.behind_since > timedelta(seconds=BEHIND_S_MAX)
    if behind or not look.was_ready:
        return Finding.NOT_READY, None
    return Finding.READY, None


def is_at_least(held: RestorePoint, newest: RestorePoint) -> bool:
    """Whether what is held is the newest checkpoint (a report may know of one that our reading does not have yet)."""
    return (held.epoch, held.seq) >= (newest.epoch, newest.seq)


def none_retry(failures: int) -> timedelta:
    """How long to wait after `failures` looks in a row that found no node."""
    return timedelta(seconds=NONE_RETRY_S[min(failures, len(NONE_RETRY_S)) - 1] if failures else 0.0)


def _units(micros: int) -> str:
    whole, rest = divmod(micros, MICROS_PER_UNIT)
    decimals = f"{rest:06d}".rstrip("0")
    return f"${whole}.{decimals:0<2}"
