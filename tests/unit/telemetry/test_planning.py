"""Which table answers for a time, in which steps, and which partitions stand."""

from datetime import UTC, datetime, timedelta

import pytest
from gp4u_server.catalyst.telemetry.partitions import covering, expired, named, wanted
from gp4u_server.catalyst.telemetry.planning import POINTS_MAX, ROWS_MAX, plan
from gp4u_server.catalyst.telemetry.retention import Retention
from gp4u_server.catalyst.telemetry.summing import Resolution

NOW = datetime(2026, 11, 23, 19, 5, 30, tzinfo=UTC)
KEPT = Retention().as_table()


@pytest.mark.parametrize(
    ("ago", "length", "resolution", "step"),
    [
        (timedelta(hours=1), timedelta(hours=1), "10s", timedelta(seconds=10)),
        (timedelta(hours=12), timedelta(hours=12), "10s", timedelta(seconds=80)),
        (timedelta(days=1), timedelta(days=1), "1m", timedelta(minutes=3)),
        (timedelta(days=2), timedelta(hours=1), "1m", timedelta(minutes=1)),
        (timedelta(days=7), timedelta(days=7), "1h", timedelta(hours=1)),
        (timedelta(days=400), timedelta(minutes=30), "1h", timedelta(hours=1)),
        (timedelta(days=3650), timedelta(days=3650), "1h", timedelta(hours=146)),
    ],
)
def test_the_finest_table_that_has_it_and_that_is_not_too_much(
    ago: timedelta, length: timedelta, resolution: str, step: timedelta
) -> None:
    planned = plan(NOW - ago, NOW - ago + length, None, NOW, KEPT)
    assert (planned.resolution, planned.step) == (resolution, step)


def test_no_answer_has_more_points_than_a_chart_can_show() -> None:
    for minutes in (1, 59, 600, 5_000, 100_000, 10_000_000):
        length = timedelta(minutes=minutes)
        for asked in (None, *Resolution):
            planned = plan(NOW - length, NOW, asked, NOW, KEPT)
            assert length / planned.step <= POINTS_MAX
            assert planned.step % planned.resolution.step == timedelta()
            if asked is None and planned.resolution is not Resolution.HOUR:
                assert length / planned.resolution.step <= ROWS_MAX
            else:
                assert asked in (None, planned.resolution)


def test_partitions_follow_each_other_without_gap_or_overlap() -> None:
    for resolution in Resolution:
        each = covering(resolution, datetime(2027, 12, 31, 23, 59, tzinfo=UTC))
        following = covering(resolution, each.until)
        assert following.since == each.until > each.since
        assert named(each.name) == each
    standing = wanted(NOW)
    for late in (timedelta(), timedelta(hours=1), -timedelta(hours=6)):
        for resolution in Resolution:
            assert covering(resolution, NOW - late) in standing
    assert named("telemetry_10s") is named("jobs") is named("telemetry_1m_old") is None


def test_nothing_goes_before_its_time_or_before_it_was_summed_up() -> None:
    past = covering(Resolution.TEN_SECONDS, NOW - timedelta(days=2))
    month = covering(Resolution.HOUR, NOW - timedelta(days=900))
    recent = covering(Resolution.TEN_SECONDS, NOW - timedelta(hours=23))
    summed = {Resolution.MINUTE: NOW, Resolution.HOUR: NOW}
    assert expired([past, month, recent], NOW, KEPT, summed) == [past]
    assert expired([past], NOW, KEPT, {Resolution.MINUTE: past.until - timedelta(minutes=1)}) == []
    assert expired([past], NOW, KEPT, {}) == []
