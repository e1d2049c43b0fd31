"""Time as a parameter: production reads the system, tests and simulations turn the hands themselves."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. `now` is for records, `monotonic_s` for measuring and for deadlines."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps back; only differences mean something."""
        ...


@dataclass(frozen=True)
class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()


@dataclass
class ManualClock:
    """A clock that moves only when told to, for tests and simulations."""

    current: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    monotonic: float = 0.0

    def now(self) -> datetime:
        return self.current

    def monotonic_s(self) -> float:
        return self.monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        self.current += timedelta(seconds=seconds)
        self.monotonic += seconds
