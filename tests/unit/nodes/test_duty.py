"""When a node is quarantined, for how long, and the one word that people see."""

from datetime import UTC, datetime, timedelta

import pytest
from gp4u_server.nodes.duty import (
    FLAPPING_WINDOW,
    FORGIVEN_AFTER,
    QUARANTINE_FIRST,
    QUARANTINE_MAX,
    quarantine_after_loss,
    shown_state,
)
from gp4u_server.nodes.types import Duty, Liveness

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ago(*minutes: float) -> list[datetime]:
    return [NOW - timedelta(minutes=minute) for minute in minutes]


def test_two_losses_in_an_hour_are_bad_luck_and_three_are_flapping() -> None:
    assert quarantine_after_loss(Duty.IN_SERVICE, ago(0, 20), 0, None, NOW) is None
    verdict = quarantine_after_loss(Duty.IN_SERVICE, ago(0, 20, 59), 0, None, NOW)
    assert verdict is not None
    assert (verdict.until, verdict.count) == (NOW + QUARANTINE_FIRST, 1)
    assert "3 times within an hour" in verdict.reason
    assert "15 minutes" in verdict.reason


def test_a_loss_of_exactly_an_hour_ago_counts_no_more() -> None:
    assert quarantine_after_loss(Duty.IN_SERVICE, [NOW, NOW, NOW - FLAPPING_WINDOW], 0, None, NOW) is None


@pytest.mark.parametrize(
    ("before", "minutes"), [(0, 15), (1, 30), (2, 60), (6, 960), (7, 1440), (1000, 1440)]
)
def test_each_quarantine_takes_twice_the_last_up_to_a_day(before: int, minutes: int) -> None:
    verdict = quarantine_after_loss(Duty.IN_SERVICE, ago(0, 1, 2), before, NOW - timedelta(hours=2), NOW)
    assert verdict is not None
    assert verdict.until - NOW == timedelta(minutes=minutes) <= QUARANTINE_MAX


def test_a_day_without_one_is_forgiven() -> None:
    verdict = quarantine_after_loss(Duty.IN_SERVICE, ago(0, 1, 2), 5, NOW - FORGIVEN_AFTER, NOW)
    assert verdict is not None
    assert (verdict.until - NOW, verdict.count) == (QUARANTINE_FIRST, 1)


def test_losses_that_were_paid_for_do_not_count_again() -> None:
    ended = NOW - timedelta(minutes=10)
    assert quarantine_after_loss(Duty.IN_SERVICE, ago(0, 20, 21, 22), 1, ended, NOW) is None
    assert quarantine_after_loss(Duty.IN_SERVICE, ago(0, 3, 6, 22), 1, ended, NOW) is not None


@pytest.mark.parametrize("duty", [Duty.DRAINING, Duty.MAINTENANCE, Duty.QUARANTINED])
def test_who_is_out_of_service_is_left_alone(duty: Duty) -> None:
    assert quarantine_after_loss(duty, ago(0, 1, 2, 3), 0, None, NOW) is None


@pytest.mark.parametrize(
    ("liveness", "duty", "word"),
    [
        (Liveness.ONLINE, Duty.IN_SERVICE, "online"),
        (Liveness.SUSPECT, Duty.IN_SERVICE, "suspect"),
        (Liveness.ONLINE, Duty.DRAINING, "draining"),
        (Liveness.OFFLINE, Duty.MAINTENANCE, "maintenance"),
        (Liveness.ONLINE, Duty.QUARANTINED, "quarantined"),
        (Liveness.LOST, Duty.QUARANTINED, "lost"),
    ],
)
def test_one_word_says_it(liveness: Liveness, duty: Duty, word: str) -> None:
    assert shown_state(liveness, duty) == word
