"""The SQL that sums readings up, made from the number of positions: for the coarser tables and for answers alike.

count, mean, low and high are taken of every reading by itself, NULLs left out. A mean of means is weighted with its
counts, so an hour made from minutes equals an hour made from samples (up to the four bytes of a `real`).
"""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from gp4u_server.catalyst.telemetry.metrics import WIDTH


class Resolution(StrEnum):
    """The three tables."""

    TEN_SECONDS = "10s"
    MINUTE = "1m"
    HOUR = "1h"

    @property
    def step(self) -> timedelta:
        """The time between two rows of a series."""
        return {"10s": timedelta(seconds=10), "1m": timedelta(minutes=1), "1h": timedelta(hours=1)}[self]

    @property
    def table(self) -> str:
        """Its table's name."""
        return f"telemetry_{self.value}"


def aggregates(source: Resolution, positions: Sequence[int] = range(1, WIDTH + 1)) -> str:
    """Four array expressions over rows of `source`: counts, means, lows, highs of these positions (from 1)."""
    if source is Resolution.TEN_SECONDS:
        parts = (
            [f"count(values[{i}])" for i in positions],
            [f"avg(values[{i}])" for i in positions],
            [f"min(values[{i}])" for i in positions],
            [f"max(values[{i}])" for i in positions],
        )
    else:
        parts = (
            [f"coalesce(sum(counts[{i}]), 0)" for i in positions],
            [f"sum(means[{i}]::float8 * counts[{i}]) / nullif(sum(counts[{i}]), 0)" for i in positions],
            [f"min(lows[{i}])" for i in positions],
            [f"max(highs[{i}])" for i in positions],
        )
    counts, means, lows, highs = (", ".join(part) for part in parts)
    return (
        f"ARRAY[{counts}]::int[] AS counts, ARRAY[{means}]::real[] AS means,"
        f" ARRAY[{lows}]::real[] AS lows, ARRAY[{highs}]::real[] AS highs"
    )


def rollup_sql(source: Resolution, target: Resolution) -> str:
    """Fills `target` from `source` for buckets in [:since, :until). Run again it writes the same rows again."""
    return (
        f"INSERT INTO {target.table} (at, node_id, device_uuid, counts, means, lows, highs)"  # noqa: S608 - our words
        f" SELECT date_bin(:step, at, 'epoch'::timestamptz) AS bucket, node_id, device_uuid, {aggregates(source)}"
        f" FROM {source.table} WHERE at >= :since AND at < :until GROUP BY bucket, node_id, device_uuid"
        " ON CONFLICT (at, node_id, device_uuid) DO UPDATE SET counts = excluded.counts, means = excluded.means,"
        " lows = excluded.lows, highs = excluded.highs"
    )


def series_sql(source: Resolution, positions: Sequence[int]) -> str:
    """Series of some devices of a node in steps of :step: `at` and the four arrays, oldest first."""
    return (
        f"SELECT device_uuid, date_bin(:step, at, 'epoch'::timestamptz) AS bucket, {aggregates(source, positions)}"  # noqa: S608
        f" FROM {source.table} WHERE node_id = :node_id AND device_uuid = ANY(:device_uuids)"
        " AND at >= :since AND at < :until GROUP BY device_uuid, bucket ORDER BY device_uuid, bucket LIMIT :limit"
    )


def newest_sql(source: Resolution, values: str) -> str:
    """The newest row of each series of a node in (:since, :until]."""
    return (
        f"SELECT DISTINCT ON (device_uuid) device_uuid, at, {values} AS readings FROM {source.table}"  # noqa: S608
        " WHERE node_id = :node_id AND at > :since AND at <= :until ORDER BY device_uuid, at DESC"
    )
