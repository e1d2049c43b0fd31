"""What the command makes of readings."""

import click
import pytest
from gp4u.telemetry import seconds_of, summaries, telemetry_params, trend


@pytest.mark.parametrize(("span", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("7d", 604_800)])
def test_a_span_is_read(span: str, seconds: float) -> None:
    assert seconds_of(span) == seconds


@pytest.mark.parametrize("span", ["", "1", "h", "-1h", "1 week", "0s"])
def test_what_is_no_span_is_said_to_be_none(span: str) -> None:
    with pytest.raises(click.BadParameter):
        seconds_of(span)


def test_a_series_is_summed_up_without_its_gaps() -> None:
    reading = {
        "unit": "°C",
        "mean": [60.0, None, 64.0],
        "low": [58.0, None, 63.0],
        "high": [61.0, None, 1234.5],
    }
    silent = {"unit": "W", "mean": [None], "low": [None], "high": [None]}
    rows = list(summaries({"metrics": {"temperature_c": reading, "power_w": silent}}))
    assert rows == [["temperature_c", "64", "62", "58", "1234", "°C", "▁█"]]


def test_a_trend_has_a_bounded_width_and_shows_peaks() -> None:
    assert trend([0.0] * 99 + [5.0] + [0.0] * 20).count("█") == 1
    assert len(trend([float(n) for n in range(1000)])) <= 24
    assert trend([3.0, 3.0]) == "▁▁"


def test_only_what_was_asked_for_is_sent() -> None:
    assert telemetry_params({"metrics": ["power_w", "xids"]}) == {
        "from": None,
        "to": None,
        "resolution": "auto",
        "metrics": "power_w,xids",
        "device": None,
    }
