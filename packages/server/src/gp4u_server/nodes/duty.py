"""Whether a node takes jobs: in service, draining, in maintenance, quarantined. Pure.

Duty is what people and rules decide; liveness is what heartbeats say. A node takes new jobs only when it is verified,
online and in service. People see one word for all of it: `shown_state`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gp4u_server.nodes.types import Duty, Liveness

FLAPPING_LOSSES = 3
FLAPPING_WINDOW = timedelta(hours=1)
QUARANTINE_FIRST = timedelta(minutes=15)
QUARANTINE_MAX = timedelta(hours=24)
FORGIVEN_AFTER = timedelta(hours=24)
"""A node that behaved this long after its last quarantine ended starts again with the shortest one."""


def shown_state(liveness: Liveness, duty: Duty) -> str:
    """The one word: quarantined, maintenance, draining, or else the liveness. A lost node is lost whatever its duty."""
    if duty is Duty.IN_SERVICE or liveness is Liveness.LOST:
        return liveness.value
    return duty.value


@dataclass(frozen=True)
class Quarantine:
    """A node is kept from new jobs until an instant. `count` is how many it had in a row, this one included."""

    until: datetime
    count: int
    reason: str


def quarantine_after_loss(
    duty: Duty, losses_at: Sequence[datetime], before: int, last_until: datetime | None, now: datetime
) -> Quarantine | None:
    """Whether the loss at `now` (the newest of `losses_at`) is one too many.

    Three losses within an hour are. The first quarantine takes 15 minutes, each further one twice the last, a day at most;
    `before` of them (the last ended at `last_until`) are forgotten after a day without one. A node that is out of service
    anyway is left alone.
    """
    if duty is not Duty.IN_SERVICE:
        return None
    # Losses that the last quarantine was for are paid.
    since = max(now - FLAPPING_WINDOW, last_until) if last_until is not None else now - FLAPPING_WINDOW
    recent = sum(since < at <= now for at in losses_at)
    if recent < FLAPPING_LOSSES:
        return None
    if last_until is not None and now - last_until >= FORGIVEN_AFTER:
        before = 0
    pause = min(QUARANTINE_MAX, QUARANTINE_FIRST * 2 ** min(before, 16))
    minutes = round(pause.total_seconds() / 60)
    return Quarantine(
        now + pause,
        before + 1,
        f"Lost {recent} times within an hour; it takes no new jobs for {minutes} minutes.",
    )
