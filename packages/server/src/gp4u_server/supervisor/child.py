"""One supervised process: started, watched, started again with back-off when it dies, stopped on request."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from gp4u_server.embedded.program import Program, ServerFailed, last_lines, popen_arguments
from gp4u_server.supervisor.errors import UpFailed

BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
HEALTHY_AFTER_S = 60.0
DEATHS_BEFORE_READY_MAX = 3
READY_POLL_S = 0.05
LOG_BYTES_MAX = 10 * 1024 * 1024
LOGS_KEPT = 3


class ChildState(StrEnum):
    """What `gp4u status` says of a part."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPED = "stopped"


async def _at_once() -> bool:
    return True


@dataclass(frozen=True)
class Part:
    """A program with its place in the whole.

    Attributes:
        ready: answers whether the part can do its work now.
        stop_timeout_s: after so long it is killed.
    """

    program: Program
    title: str
    ready: Callable[[], Awaitable[bool]] = _at_once
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 15.0


@dataclass
class Child:
    """Runs one Part. `on_change` is called after every change of state."""

    part: Part
    logs: Path
    on_change: Callable[[], None] = lambda: None
    state: ChildState = ChildState.STOPPED
    pid: int | None = None
    restarts: int = 0
    started_at: float = 0.0
    _stopping: bool = False
    _task: "asyncio.Task[None] | None" = None
    _process: asyncio.subprocess.Process | None = None
    _hopeless: ServerFailed | None = None
    _was_ready: asyncio.Event = field(default_factory=asyncio.Event)
    _is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    _restarting: bool = False

    @property
    def name(self) -> str:
        return self.part.program.name

    @property
    def log(self) -> Path:
        return self.logs / f"{self.name}.log"

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises UpFailed with the end of its log when it does not get there."""
        self._task = asyncio.create_task(self._keep_running(), name=self.name)
        ready = asyncio.create_task(self._was_ready.wait())
        done, _ = await asyncio.wait(
            {self._task, ready}, timeout=self.part.ready_timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        ready.cancel()
        if self._was_ready.is_set():
            return
        if not done:
            raise UpFailed(self._story(f"was not ready after {self.part.ready_timeout_s:.0f} s"))
        await self._task

    async def restart(self) -> None:
        """End it politely and wait until its successor works. Raises UpFailed when that takes too long; it is started
        again and again all the same."""
        self._is_ready.clear()
        self._restarting = True
        await self._end_process()
        try:
            await asyncio.wait_for(self._is_ready.wait(), self.part.ready_timeout_s)
            self._restarting = False
        except TimeoutError:
            raise UpFailed(self._story(f"was not ready after {self.part.ready_timeout_s:.0f} s")) from None

    async def stop(self) -> None:
        """Ask it to end, wait, kill its whole process group if it does not."""
        self._stopping = True
        await self._end_process()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, UpFailed):
                await self._task
        self._become(ChildState.STOPPED)

    def rotate_log(self) -> None:
        """Keep the log bounded: copy it aside and cut it, since the process appends through its own descriptor."""
        with suppress(OSError):
            if self.log.stat().st_size < LOG_BYTES_MAX:
                return
            for number in range(LOGS_KEPT - 1, 0, -1):
                older = self.log.with_suffix(f".log.{number}")
                if older.exists():
                    older.rename(self.log.with_suffix(f".log.{number + 1}"))
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)

    async def _end_process(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(self.part.program.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), self.part.stop_timeout_s)
            except TimeoutError:
                self._kill_group(process.pid)
                await process.wait()

    async def _keep_running(self) -> None:
        deaths_in_a_row = 0
        while not self._stopping:
            self._become(ChildState.STARTING)
            process = await self._spawn()
            became_ready = asyncio.create_task(self._wait_until_ready())
            try:
                code = await process.wait()
            finally:
                became_ready.cancel()
            # What it left behind in its session would hold ports and files of its successor.
            self._kill_group(process.pid)
            self.pid = None
            if self._stopping:
                return
            if self._restarting:  # wanted, so neither a failure nor a reason to pause
                self._restarting = False
                continue
            lived_s = time.monotonic() - self.started_at
            deaths_in_a_row = 1 if lived_s > HEALTHY_AFTER_S else deaths_in_a_row + 1
            if not self._was_ready.is_set() and self._hopeless is not None:
                raise UpFailed(str(self._hopeless))
            if not self._was_ready.is_set() and deaths_in_a_row >= DEATHS_BEFORE_READY_MAX:
                raise UpFailed(self._story(f"ended with code {code}"))
            self.restarts += 1
            self._become(ChildState.RESTARTING)
            await asyncio.sleep(BACKOFF_S[min(deaths_in_a_row, len(BACKOFF_S)) - 1])

    async def _spawn(self) -> asyncio.subprocess.Process:
        program = self.part.program
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *program.argv, stdout=output, **popen_arguments(program)
            )
        self.pid = self._process.pid
        self.started_at = time.monotonic()
        return self._process

    async def _wait_until_ready(self) -> None:
        try:
            while not await self.part.ready():  # noqa: ASYNC110 - what we wait for is in another process
                await asyncio.sleep(READY_POLL_S)
        except ServerFailed as failure:
            self._hopeless = failure
            if self.pid is not None:
                self._kill_group(self.pid)
            return
        self._was_ready.set()
        self._is_ready.set()
        self._become(ChildState.RUNNING)

    def _kill_group(self, pid: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)

    def _become(self, state: ChildState) -> None:
        if state is not self.state:
            self.state = state
            self.on_change()

    def _story(self, what: str) -> str:
        return f"The {self.part.title} {what}. The end of {self.log}:\n{last_lines(self.log, 12)}"
