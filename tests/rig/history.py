"""What happened, in order: one JSON object a line, each with its instant. The checker reads nothing but this.

Instants (`at`) are seconds of CLOCK_BOOTTIME, which all hosts of the lab share with us and no fault of ours steps; `wall` is
for people who compare with logs. Kinds: `fault`, `told` (what people were answered), `run` (what jobs themselves say),
`read` (checkpoints read back), `database` (rows at the end), `note`.
"""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def now() -> float:
    """Seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class History:
    """Appends to a file; threads may write at the same time."""

    path: Path
    records: list[Record] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, kind: str, at: float | None = None, **fields: Any) -> None:
        """One more record, now unless `at` says otherwise."""
        record = {"at": now() if at is None else at, "wall": time.time(), "kind": kind, **fields}
        line = json.dumps(record, default=str)
        with self._lock:
            self.records.append(record)
            with self.path.open("a") as file:
                file.write(line + "\n")

    def snapshot(self) -> list[Record]:
        """Everything so far."""
        with self._lock:
            return list(self.records)


def read(path: Path) -> Iterator[Record]:
    """The records of a file."""
    with path.open() as file:
        for line in file:
            yield json.loads(line)
