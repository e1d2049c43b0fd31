"""What a job is told when it has to leave its node: a file in its control folder, and a signal if it asked for one.

    $GP4U_CONTROL_DIR/notice.json    {"reason", "sentence", "deadline", "deadline_at"}; renamed into place, removed when taken back

`deadline` is in seconds of *this machine's* clock, counted from what was left when the notice came: whatever that clock says,
the job may compare it with its own.
"""

import contextlib
import json
import logging
import os
import time
from datetime import datetime
from pathlib import Path

from gp4u_protocol.messages import Notice

NAME = "notice.json"

log = logging.getLogger(__name__)


class NoticeBoard:
    """The notice of one placement. The folder is the job's to write, so nothing in it is followed."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._known_at: datetime | None = None
        self._deadline = 0.0
        self._shown: datetime | None = None

    def hear(self, notice: Notice | None) -> None:
        """The platform said this. The same notice said again is as old as when it was heard first."""
        named = None if notice is None else notice.deadline_at
        if notice is not None and named != self._known_at:
            self._deadline = time.time() + notice.seconds_left
        self._known_at = named

    def show(self, notice: Notice | None) -> bool:
        """Put it where the job finds it, or take it away. Answers whether the job has a notice that it had not before."""
        named = None if notice is None else notice.deadline_at
        if named == self._shown:
            return False
        self._shown = named
        try:
            if notice is None:
                (self._control / NAME).unlink(missing_ok=True)
                return False
            self._write(notice)
        except (
            OSError
        ) as error:  # the job made it impossible, or filled its disk; it is told by SIGTERM all the same
            log.warning("%s: the notice cannot be written: %s", self._control, error)
        return True

    def _write(self, notice: Notice) -> None:
        document = {
            "reason": notice.reason,
            "sentence": notice.sentence,
            "deadline": round(self._deadline, 3),
            "deadline_at": notice.deadline_at.isoformat(),
        }
        temporary = self._control / f".{NAME}.new"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(document).encode())
        os.replace(temporary, self._control / NAME)
