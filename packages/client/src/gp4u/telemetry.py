"""Asking for the readings of a node, and summing the answer up for people."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypedDict

import click

_SPAN = re.compile(r"^(\d+(?:\.\d+)?)\s*([smhd])$")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_BARS = "▁▂▃▄▅▆▇█"
TREND_CHARS = 24


class TelemetryQuery(TypedDict, total=False):
    """What of a node's readings is wanted; whatever is left out has the server's default (all of the last hour)."""

    since: datetime | None
    until: datetime | None
    resolution: str
    metrics: Sequence[str] | None
    device: str | None


def telemetry_params(query: TelemetryQuery) -> dict[str, Any]:
    """The query parameters of `GET /nodes/{id}/telemetry`."""
    since, until, metrics = query.get("since"), query.get("until"), query.get("metrics")
    return {
        "from": since and since.isoformat(),
        "to": until and until.isoformat(),
        "resolution": query.get("resolution", "auto"),
        "metrics": ",".join(metrics) if metrics else None,
        "device": query.get("device"),
    }


def seconds_of(span: str) -> float:
    """`90s`, `30m`, `6h`, `7d` → seconds. Raises click.BadParameter."""
    found = _SPAN.match(span.strip())
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{span!r} is not a time such as 30m, 6h or 7d", param_hint="--since")
    return float(found[1]) * _SECONDS[found[2]]


def summaries(series: dict[str, Any]) -> Iterator[list[str]]:
    """For each metric of a series: name, last value, mean, low, high, unit and trend."""
    for name, reading in series["metrics"].items():
        means = [value for value in reading["mean"] if value is not None]
        if not means:
            continue
        lows = [value for value in reading["low"] if value is not None]
        highs = [value for value in reading["high"] if value is not None]
        numbers = (means[-1], sum(means) / len(means), min(lows), max(highs))
        yield [
            name,
            *(f"{number:.4g}" if number < 1000 else f"{number:.0f}" for number in numbers),
            reading["unit"],
            trend(means),
        ]


def trend(values: Sequence[float]) -> str:
    """A line of little bars, the highest of each stretch; flat where nothing changes."""
    width = max(1, -(-len(values) // TREND_CHARS))
    peaks = [max(values[start : start + width]) for start in range(0, len(values), width)]
    low, high = min(peaks), max(peaks)
    if high == low:
        return _BARS[0] * len(peaks)
    return "".join(_BARS[round((value - low) / (high - low) * (len(_BARS) - 1))] for value in peaks)
