"""What a job is told of files that still arrive, and what it says that it waits for: files in its control folder.

    $GP4U_RESTORE_PENDING                 {"files", "bytes", "paths"}; there from before the start until everything has arrived
    $GP4U_CONTROL_DIR/want-<n>.request    {"path"}: a file or folder, relative to the checkpoint folder, to be brought next

A file appears in its place whole, so a job that waits for one need only look for it; the list may be a moment behind.
"""

import contextlib
import json
import logging
import os
import posixpath
import re
import time
from collections import deque
from collections.abc import Collection
from pathlib import Path

from gp4u_protocol.checkpoint.limits import PATH_BYTES_MAX

from gp4u_agent.checkpoint.arriving import Arrivals

NAME = "restore-pending.json"
SHOWN_EVERY_S = 1.0
PATHS_A_SECOND = 20_000
"""A list of more is written less often: it must not cost more than what it tells of."""
WANTED_MAX = 64
_REQUEST = re.compile(r"^want-[A-Za-z0-9_-]{1,64}\.request$")
_NAMES_MAX = 4096

log = logging.getLogger(__name__)


class PendingBoard:
    """The list of one placement. The folder is the job's to write, so nothing in it is followed or believed."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._next_at = 0.0
        self._wanted: deque[str] = deque(maxlen=WANTED_MAX)

    def show(self, arrivals: Arrivals | None) -> None:
        """Say what is pending, at most every second; None: nothing any more."""
        try:
            if arrivals is None:
                (self._control / NAME).unlink(missing_ok=True)
            elif time.monotonic() >= self._next_at:
                entries = arrivals.pending().values()
                pause_s = max(SHOWN_EVERY_S, len(entries) / PATHS_A_SECOND)
                self._next_at = time.monotonic() + pause_s
                size = sum(entry.size for entry in entries)
                paths = [entry.path for entry in entries]
                self._write({"files": len(paths), "bytes": size, "paths": paths})
        except OSError as error:  # the job made it impossible, or filled its disk
            log.warning("%s: what is pending cannot be told: %s", self._control, error)

    def wanted(self) -> Collection[str]:
        """Paths that the job waits for, newest requests included; those are taken away."""
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(self._control)[:_NAMES_MAX]):
                if _REQUEST.fullmatch(name) and (path := self._take(name)) and path not in self._wanted:
                    self._wanted.append(path)
        return frozenset(self._wanted)

    def _take(self, name: str) -> str | None:
        try:
            descriptor = os.open(self._control / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:  # not os.fdopen: for a folder it raises and leaves the descriptor open
                said = os.read(descriptor, 2 * PATH_BYTES_MAX)
            finally:
                os.close(descriptor)
            path = json.loads(said)["path"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        finally:
            with contextlib.suppress(OSError):  # a folder of that name stays, and says nothing
                (self._control / name).unlink()
        return posixpath.normpath(path) if isinstance(path, str) and path else None

    def _write(self, document: dict[str, object]) -> None:
        temporary = self._control / f".{NAME}.new"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(document).encode())
        os.replace(temporary, self._control / NAME)
