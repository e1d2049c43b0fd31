"""How much disk a folder holds, measured a little at a time so that the shim's timers never wait for it."""

import os
from collections.abc import Iterator
from pathlib import Path

ENTRIES_PER_STEP = 256


class DiskUse:
    """The last complete measure, and the one under way."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self.bytes_used = 0
        self._walk: Iterator[int] | None = None
        self._sum = 0

    def step(self) -> bool:
        """Look at some more entries; True when a measure was completed and `bytes_used` is new."""
        if self._walk is None:
            self._walk, self._sum = self._entries(), 0
        for _ in range(ENTRIES_PER_STEP):
            size = next(self._walk, None)
            if size is None:
                self._walk, self.bytes_used = None, self._sum
                return True
            self._sum += size
        return False

    def _entries(self) -> Iterator[int]:
        queue = [os.fspath(folder) for folder in self._folders]
        while queue:
            try:
                entries = os.scandir(queue.pop())
            except OSError:
                continue
            with entries:
                for entry in entries:
                    try:
                        stat = entry.stat(follow_symlinks=False)
                        if entry.is_dir(follow_symlinks=False):
                            queue.append(entry.path)
                    except OSError:
                        continue
                    yield stat.st_blocks * 512
