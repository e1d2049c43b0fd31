"""How much disk a folder holds, measured a little at a time so that the shim's timers never wait for it.

A file of several names counts once.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

ENTRIES_PER_STEP = 256
UNMEASURABLE_BYTES = 1 << 60
"""What lies deeper than a path can be long cannot be measured, so it counts as more than any limit."""


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
        linked: set[tuple[int, int]] = set()
        while queue:
            try:
                with os.scandir(queue.pop()) as entries:
                    for entry in entries:
                        yield self._size(entry, queue, linked)
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    yield UNMEASURABLE_BYTES

    @staticmethod
    def _size(entry: os.DirEntry[str], queue: list[str], linked: set[tuple[int, int]]) -> int:
        try:
            stat = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                queue.append(entry.path)
        except OSError as error:
            return UNMEASURABLE_BYTES if error.errno == errno.ENAMETOOLONG else 0
        if stat.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
            if (stat.st_dev, stat.st_ino) in linked:
                return 0
            linked.add((stat.st_dev, stat.st_ino))
        return stat.st_blocks * 512
