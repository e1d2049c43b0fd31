"""What the agent knows of itself: since when its machine and it run, how its last run ended, whether it stood still.

Told with every `Hello`. After a loss it says who was gone: the machine (another boot), the agent (another run), the link
(neither), or that all of it stood still. One small file of the state folder remembers the run before.
"""

import json
import logging
import os
import time
import uuid
from pathlib import Path
from typing import Literal

import psutil
from gp4u_protocol.messages import AgentLife

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
log = logging.getLogger(__name__)


class Life:
    """One run of the agent. `tick` it often; intervals are counted through suspends of the machine, too."""

    def __init__(self, file: Path, *, boot_id: str | None = None) -> None:
        self._file = file
        self._boot_id = boot_id if boot_id is not None else _boot_id()
        self._run_id = uuid.uuid4().hex
        self._began = _now()
        self._last_run = _how_it_ended(file)
        self._ticked = self._began
        self._stood_still_s = 0.0
        self._keep("running")

    def tick(self) -> None:
        """The agent runs now. The longest time between two of these is how long it did not."""
        now = _now()
        self._stood_still_s = max(self._stood_still_s, now - self._ticked)
        self._ticked = now

    def session_began(self) -> None:
        """What was told is told; what follows is counted from here."""
        self._ticked, self._stood_still_s = _now(), 0.0

    def ended(self) -> None:
        """The agent ends because it was told to."""
        self._keep("clean")

    def said(self, *, runs_kept: int, runs_gone: int) -> AgentLife:
        """For `Hello`."""
        self.tick()
        return AgentLife(
            boot_id=self._boot_id,
            booted_s_ago=max(0.0, round(time.time() - psutil.boot_time(), 1)),
            run_id=self._run_id,
            running_s=round(_now() - self._began, 1),
            last_run=self._last_run,
            stood_still_s=round(self._stood_still_s, 1),
            runs_kept=runs_kept,
            runs_gone=runs_gone,
        )

    def _keep(self, state: Literal["running", "clean"]) -> None:
        temporary = self._file.with_suffix(".new")
        try:
            temporary.write_text(json.dumps({"run_id": self._run_id, "state": state}))
            os.replace(temporary, self._file)
        except OSError as error:  # a full disk keeps no agent from its work
            log.warning("%s cannot be written: %s", self._file, error)


def _how_it_ended(file: Path) -> Literal["clean", "crashed", "none", "unknown"]:
    try:
        state = json.loads(file.read_text())["state"]
    except FileNotFoundError:
        return "none"
    except (OSError, ValueError, TypeError, KeyError):
        return "unknown"
    return "clean" if state == "clean" else "crashed"


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
