"""How long a node's leases last: the TTL follows its link. Pure: (what was seen, now) → TTL and why.

Only the gateway's own clock is read. What counts is how old the newest proof of a lease becomes at the node before the
next one arrives; the lease must outlast that with room to spare. Each heartbeat says which answer was the newest that had
arrived when it was sent, so the *wait* of a beat is the time between the receipt of the beat that this answer renewed and
now: one interval on a good link, more with every missing beat, missing answer, delay or jitter, in either direction.

    target = max(2 · longest wait of late, (beats lost in a row + 1) · interval / 0.95)

within [lease_ttl_s, lease_ttl_max_s], in whole seconds. The longest wait fades with a half-life of a minute. "Beats lost in a row" is how many a link that loses this share of
them loses one after another once in ten thousand beats. The TTL grows to its target at once and shrinks by a second at a
time. See docs/design/leases.md for why a change is safe at any moment.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from gp4u_protocol.lease import DRIFT_MAX, LEASE_TTL_MAX_S, LEASE_TTL_S

WAITS_PER_LEASE = 2.0
"""A lease lasts this many times the longest wait of late: up to waits of half a lease nothing changes."""
HALF_LIFE_S = 60.0
SMOOTHING = 1 / 64
"""What one heartbeat counts for in the share of lost ones."""
RARE = 1e-4
"""How likely it may be that as many beats are lost one after another as a lease lasts."""
LOSS_COUNTS_FROM = 0.02
"""A smaller share of lost beats is chance: one in fifty."""
STEP_S = 1.0
SHRINK_EVERY_S = 30.0


class Ttl(NamedTuple):
    """How long a lease lasts, and why not as short as it may be (None: it is)."""

    ttl_s: float
    why: str | None


@dataclass(frozen=True)
class TtlBounds:
    """Between which TTLs to choose. Equal bounds: nothing is adapted."""

    least_s: float = LEASE_TTL_S
    most_s: float = LEASE_TTL_MAX_S
    shrink_every_s: float = SHRINK_EVERY_S

    def clamp(self, ttl_s: float) -> float:
        """The nearest that is allowed."""
        return min(max(ttl_s, self.least_s), max(self.most_s, self.least_s))


@dataclass(slots=True)
class LinkQuality:
    """What was seen of one node's link, as of `seen_at` on the gateway's clock."""

    interval_s: float
    seen_at: float
    wait_peak_s: float = 0.0
    loss: float = 0.0
    changed_at: float = float("-inf")
    """When the TTL was last changed, or last had to be as long as it is."""

    def beat(self, now: float, *, gap_s: float, wait_s: float, missed: int = 0) -> None:
        """A heartbeat came in `gap_s` after the one before it, with `missed` beats lost between the two; the newest proof
        of its leases that had reached the node then was `wait_s` old."""
        faded = self.wait_peak_s
        if faded > self.interval_s:
            faded *= 0.5 ** ((now - self.seen_at) / HALF_LIFE_S)
        self.wait_peak_s = max(faded, wait_s, gap_s)
        if missed or self.loss > 0.001:
            kept = (1 - SMOOTHING) ** (missed + 1)
            self.loss = self.loss * kept + (1 - kept) * missed / (missed + 1)
        self.seen_at = now


def target(quality: LinkQuality, bounds: TtlBounds) -> Ttl:
    """What the link asks for, whatever the TTL is now."""
    by_wait_s = WAITS_PER_LEASE * quality.wait_peak_s
    by_loss_s = 0.0
    if quality.loss >= LOSS_COUNTS_FROM:
        in_a_row = math.log(RARE) / math.log(min(quality.loss, 0.9))
        by_loss_s = (in_a_row + 1) * quality.interval_s / (1 - DRIFT_MAX)
    asked_s = max(by_wait_s, by_loss_s)
    if asked_s <= bounds.least_s:
        return Ttl(bounds.least_s, None)
    ttl_s = bounds.clamp(math.ceil(asked_s / STEP_S) * STEP_S)
    if by_wait_s >= by_loss_s:
        return Ttl(ttl_s, f"proofs of its leases were up to {quality.wait_peak_s:.1f} s old")
    return Ttl(ttl_s, f"{100 * quality.loss:.0f} % of its heartbeats were lost")


def next_ttl(quality: LinkQuality, current_s: float, now: float, bounds: TtlBounds) -> Ttl | None:
    """What to change the TTL to at `now`; None: leave it. Grows at once, shrinks a step at a time."""
    # The good link's case, millions of times a minute.
    if (
        current_s == bounds.least_s
        and WAITS_PER_LEASE * quality.wait_peak_s <= current_s
        and quality.loss < LOSS_COUNTS_FROM
    ):
        return None
    wanted = target(quality, bounds)
    if wanted.ttl_s >= current_s:
        quality.changed_at = now
        return wanted if wanted.ttl_s > current_s else None
    if now - quality.changed_at < bounds.shrink_every_s:
        return None
    quality.changed_at = now
    ttl_s = max(wanted.ttl_s, current_s - STEP_S)
    return Ttl(ttl_s, wanted.why or (None if ttl_s <= bounds.least_s else "its link was worse a while ago"))
