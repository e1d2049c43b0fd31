"""What a person types for the begin and the length of a maintenance window."""

from datetime import datetime, timedelta, timezone

import click
import pytest
from gp4u.commands.nodes import instant, seconds

ZONE = timezone(timedelta(hours=2))
NOW = datetime(2026, 11, 23, 21, 30, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("typed", "at"),
    [
        ("22:00", datetime(2026, 11, 23, 22, 0, tzinfo=ZONE)),
        ("9:15", datetime(2026, 11, 24, 9, 15, tzinfo=ZONE)),
        ("21:30", datetime(2026, 11, 24, 21, 30, tzinfo=ZONE)),
        ("2h", NOW + timedelta(hours=2)),
        ("2026-12-01T22:00+00:00", datetime(2026, 12, 1, 22, 0, tzinfo=timezone.utc)),  # noqa: UP017
    ],
)
def test_a_begin_is_a_time_of_day_an_instant_or_a_time_from_now(typed, at):
    assert instant(typed, NOW) == at


def test_an_instant_without_a_zone_is_local_and_nonsense_is_refused():
    assert instant("2026-12-01T22:00", NOW).tzinfo is not None
    assert seconds(" 90m ", "--for") == 5400
    for nonsense in ("soon", "25:00", "2 hours", "-2h"):
        with pytest.raises(click.BadParameter):
            instant(nonsense, NOW)
