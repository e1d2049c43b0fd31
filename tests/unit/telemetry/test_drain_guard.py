"""When a critical sign drains its node and when it is held, because too many show it."""

from datetime import UTC, datetime, timedelta

import pytest
from gp4u_server.catalyst.telemetry.drain_guard import (
    DECISION_LASTS,
    QUIET_AFTER,
    GuardTerms,
    StandingHold,
    Verdict,
    is_gone,
    is_quiet,
    verdict,
)
from gp4u_server.catalyst.telemetry.types import HoldState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = GuardTerms(nodes_min=3, percent=5)


@pytest.mark.parametrize(
    ("showing", "serving", "expected"),
    [
        (1, 1, Verdict.DRAIN),  # a small fleet's every failure is a large part of it
        (2, 2, Verdict.DRAIN),
        (3, 6, Verdict.HOLD),
        (3, 60, Verdict.DRAIN),  # exactly the percentage is not more than it
        (3, 59, Verdict.HOLD),
        (50, 1000, Verdict.DRAIN),
        (51, 1000, Verdict.HOLD),
        (3, 0, Verdict.HOLD),  # none that we still hear of
    ],
)
def test_more_than_a_share_and_at_least_a_few_are_held(showing: int, serving: int, expected: Verdict) -> None:
    assert verdict(None, showing, serving, NOW, TERMS) is expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (HoldState.HELD, Verdict.HOLD),  # also one that comes an hour later, alone
        (HoldState.CONFIRMED, Verdict.DRAIN),
        (HoldState.DISMISSED, Verdict.RECORD),
        (HoldState.LAPSED, Verdict.DRAIN),
    ],
)
def test_what_stands_decides_for_those_that_come_later(state: HoldState, expected: Verdict) -> None:
    decided = None if state is HoldState.HELD else NOW - timedelta(hours=1)
    assert verdict(StandingHold(state, decided), 1, 100, NOW, TERMS) is expected
    later = NOW + DECISION_LASTS
    again = verdict(StandingHold(state, decided), 1, 100, later, TERMS)
    assert again is (Verdict.HOLD if state is HoldState.HELD else Verdict.DRAIN), "a decision lasts a day"
    mass = verdict(StandingHold(state, decided), 30, 100, later, TERMS)
    assert mass is Verdict.HOLD, "and then a new mass is held anew"


def test_an_undecided_hold_ends_when_its_sign_is_gone_for_a_day() -> None:
    assert not is_quiet(NOW, NOW + QUIET_AFTER - timedelta(seconds=1))
    assert is_quiet(NOW, NOW + QUIET_AFTER)


def test_only_a_gpu_off_the_bus_is_beyond_reach() -> None:
    assert is_gone("xid", "79")
    assert not is_gone("xid", "48")
    assert not is_gone("ecc", "79")
