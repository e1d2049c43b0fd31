"""What the disks did between two readings, from the kernel's counters of the whole machine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

MIB = 1 << 20


@dataclass(frozen=True)
class DiskReading:
    """Since the reading before; None at the first one, or where the kernel tells nothing."""

    read_mb_s: float | None = None
    write_mb_s: float | None = None
    latency_ms: float | None = None


class DiskMeter:
    """Remembers the counters of the last reading."""

    def __init__(self, counters: Callable[[], Any] = psutil.disk_io_counters) -> None:
        self._counters = counters
        self._last: tuple[float, Any] | None = None

    def take(self, now_s: float) -> DiskReading:
        """Rates in MiB/s and the mean time of one read or write, since the last call."""
        counters = self._counters()
        before, self._last = self._last, None if counters is None else (now_s, counters)
        if counters is None or before is None or now_s <= before[0]:
            return DiskReading()
        past_s, was = now_s - before[0], before[1]
        read, written = counters.read_bytes - was.read_bytes, counters.write_bytes - was.write_bytes
        done = counters.read_count + counters.write_count - was.read_count - was.write_count
        took_ms = counters.read_time + counters.write_time - was.read_time - was.write_time
        if min(read, written, done, took_ms) < 0:
            return DiskReading()  # a disk went away, and its counters with it
        return DiskReading(
            round(read / MIB / past_s, 3),
            round(written / MIB / past_s, 3),
            round(took_ms / done, 3) if done else None,
        )
