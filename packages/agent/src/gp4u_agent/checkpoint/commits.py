"""Commit requests of the job: files that it renames into its control folder, answered by files beside them.

The folder is the job's to write, so names and contents are checked and nothing is followed.
"""

import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REQUEST = re.compile(r"^commit-([A-Za-z0-9_-]{1,64})\.request$")
_REQUEST_BYTES_MAX = 4096
_PENDING_MAX = 64


@dataclass(frozen=True)
class CommitRequest:
    """One request; `name` ties the answer to it."""

    name: str
    step: int | None


class ControlFolder:
    """The folder that the job sees as GP4U_CONTROL_DIR."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pending(self) -> list[CommitRequest]:
        """Requests without an answer, oldest name first; damaged ones are answered here."""
        try:
            names = sorted(os.listdir(self._folder))[: 16 * _PENDING_MAX]
        except OSError:
            return []
        requests = []
        for name in names:
            match = _REQUEST.fullmatch(name)
            if match is None:
                continue
            step = self._step(name)
            if isinstance(step, _Malformed):
                # The job can make even this impossible (a folder of that name); it must not end the care for it.
                with contextlib.suppress(OSError):
                    self.answer(CommitRequest(match[1], None), {"ok": False, "error": "malformed_request"})
            else:
                requests.append(CommitRequest(match[1], step))
        return requests[:_PENDING_MAX]

    def answer(self, request: CommitRequest, answer: dict[str, Any]) -> None:
        """Put the answer in place, then take the request away: a crash between repeats the answer, never loses it."""
        done = self._folder / f"commit-{request.name}.done"
        temporary = self._folder / f".commit-{request.name}.answer"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(answer).encode())
        os.replace(temporary, done)
        (self._folder / f"commit-{request.name}.request").unlink(missing_ok=True)

    def _step(self, name: str) -> "int | _Malformed | None":
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:  # not os.fdopen: for a folder it raises and leaves the descriptor open
                said = os.read(descriptor, _REQUEST_BYTES_MAX)
            finally:
                os.close(descriptor)
            document = json.loads(said or b"{}")
            step = document.get("step")
        except (OSError, ValueError, AttributeError, RecursionError):
            return _Malformed()
        if step is None or (isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 1 << 62):
            return step
        return _Malformed()


class _Malformed:
    """A request that says nothing."""
