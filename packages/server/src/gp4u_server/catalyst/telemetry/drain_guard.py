"""When a critical sign drains its node, and when it is held back. Pure.

A failing GPU is one GPU. The same critical sign on a large part of the fleet within minutes is more likely a driver update,
or a mistake of ours in reading it, and to act on it would drain everything at once: the cure would be worse than any
failure. So it is held until a person has looked, or a day has passed without the sign.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gp4u_server.catalyst.telemetry.types import EventKind, HoldState
from gp4u_server.catalyst.telemetry.xids import GONE

DECISION_LASTS = timedelta(hours=24)
"""What an admin decided of a sign is done with all that show it within this time; after it the sign is judged anew."""
QUIET_AFTER = timedelta(hours=24)
"""A hold that nobody decided ends by itself when its sign was not seen for so long: nothing has died of it."""


@dataclass(frozen=True)
class GuardTerms:
    """More than `percent` of the serving nodes, and at least `nodes_min`, within `window`: too many at once."""

    nodes_min: int = 3
    percent: int = 5
    window: timedelta = timedelta(minutes=10)

    def too_many(self, showing: int, serving: int) -> bool:
        """Whether `showing` nodes of `serving` are a mass."""
        return showing >= self.nodes_min and showing * 100 > serving * self.percent


class Verdict(StrEnum):
    """What follows from one critical event."""

    DRAIN = "drain"  # the node, or its device where it has others
    HOLD = "hold"  # nothing moves; the node is watched
    RECORD = "record"  # an admin said that this sign means nothing at present


@dataclass(frozen=True)
class StandingHold:
    """The newest hold of a sign."""

    state: HoldState
    decided_at: datetime | None


def stands(hold: StandingHold | None, now: datetime) -> bool:
    """Whether a hold still says what to do: it waits for a decision, or the decision is not a day old."""
    if hold is None or hold.state is HoldState.LAPSED:
        return False
    return hold.decided_at is None or now - hold.decided_at < DECISION_LASTS


def verdict(
    hold: StandingHold | None, showing: int, serving: int, now: datetime, terms: GuardTerms
) -> Verdict:
    """What to do about a sign that `showing` nodes (this one included) of `serving` showed within the window."""
    if hold is not None and stands(hold, now):
        return {
            HoldState.HELD: Verdict.HOLD,
            HoldState.CONFIRMED: Verdict.DRAIN,
            HoldState.DISMISSED: Verdict.RECORD,
            HoldState.LAPSED: Verdict.DRAIN,
        }[hold.state]
    return Verdict.HOLD if terms.too_many(showing, serving) else Verdict.DRAIN


def is_gone(kind: str, code: str) -> bool:
    """Whether the device cannot be reached any more. Its job cannot go on, so it moves whatever the others show."""
    return kind == EventKind.XID and code in GONE


def is_quiet(last_sign_at: datetime, now: datetime) -> bool:
    """Whether an undecided hold may end by itself."""
    return now - last_sign_at >= QUIET_AFTER


def hold_sentence(sentence: str, showing: int, serving: int, terms: GuardTerms) -> str:
    """Why nothing moves, for owners and admins."""
    minutes = round(terms.window.total_seconds() / 60)
    return (
        f"{showing} of {serving} nodes showed this within {minutes} min, so it may be no failure of the GPUs; "
        f"nothing is moved until an admin has looked. The newest: {sentence}"
    )
