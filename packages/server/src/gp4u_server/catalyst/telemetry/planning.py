"""Which table answers for a time, and in which steps. Pure."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from gp4u_server.catalyst.telemetry.summing import Resolution

POINTS_MAX = 600
"""Points of one series in an answer, one more where the steps do not meet the bounds: what a chart can show."""
ROWS_MAX = 4_400
"""Rows of one series that are read for them: twelve hours of samples, three days of minutes."""


@dataclass(frozen=True)
class Plan:
    """Read `resolution`, answer in steps of `step` (a whole multiple of the resolution's own)."""

    resolution: Resolution
    step: timedelta


def plan(
    since: datetime,
    until: datetime,
    asked: Resolution | None,
    now: datetime,
    kept: dict[Resolution, timedelta | None],
) -> Plan:
    """The finest table that still has `since` and that is not too much to read; else the coarsest. `asked` overrides."""
    length = max(until - since, timedelta(seconds=1))
    chosen = asked or Resolution.HOUR
    if asked is None:
        for resolution in Resolution:
            keep = kept[resolution]
            if (keep is None or since >= now - keep) and length / resolution.step <= ROWS_MAX:
                chosen = resolution
                break
    return Plan(chosen, chosen.step * max(1, math.ceil(length / chosen.step / POINTS_MAX)))
