"""`python -m gp4u_agent.runtime.containers.guard`: carries a container's output to its shim, and ends the container when the shim dies.

A container is the engine's child, not the shim's: no death signal reaches it. So the guard holds one end of a pipe whose other
end dies with the shim. It kills the processes itself, by a descriptor that cannot mean another process, and does not need the
engine for that; the engine is asked afterwards to clean up. The shim in turn ends the container when the guard dies.

On the pipe: `{"pid": n, "ticks": t, "lid": name}` once the container runs, `go` when its isolation is proven (only then is its output opened,
which its first command waits for), `done` when it has ended.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import sys
from pathlib import Path

from gp4u_agent.runtime import cgroups, processes
from gp4u_agent.runtime.cgroups import JobCgroups
from gp4u_agent.runtime.containers.killing import kill_processes
from gp4u_agent.runtime.containers.leftovers import end_container

READ_BYTES = 64 << 10
END_TIMEOUT_S = 120.0
KILL_TIMEOUT_S = 10.0


class Guard:
    """State of one guard."""

    def __init__(self, name: str, output: Path) -> None:
        self._name = name
        self._output = output
        self._output_fd = -1
        self._pidfd = -1
        self._groups = JobCgroups()
        self._words = b""

    def run(self) -> None:
        """Until the container has ended, or the shim has."""
        while True:
            watched = [0] if self._output_fd < 0 else [0, self._output_fd]
            ready, _, _ = select.select(watched, [], [])
            if self._output_fd in ready:
                self._carry()
            if 0 in ready:
                piece = os.read(0, 4096)
                if not piece:
                    raise ShimDied
                *lines, self._words = (self._words + piece).split(b"\n")
                for line in lines:
                    if line == b"done":
                        self._carry()
                        return
                    self._hear(line)

    def _hear(self, line: bytes) -> None:
        if line == b"go":
            # For reading and writing: it never ends, however often the container's last writer goes.
            self._output_fd = os.open(self._output, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            return
        told = json.loads(line)
        pidfd = os.pidfd_open(told["pid"])
        if processes.alive(told["pid"], told["ticks"]):
            self._pidfd = pidfd
            self._groups = cgroups.of_process(told["pid"], lid=told["lid"])

    def _carry(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._output_fd >= 0 and (piece := os.read(self._output_fd, READ_BYTES)):
                left = memoryview(piece)
                while left:
                    left = left[os.write(1, left) :]

    def kill(self) -> None:
        """End the processes at once; then have the engine forget the container."""
        kill_processes(self._pidfd, self._groups, within_s=KILL_TIMEOUT_S)
        end_container(self._name, within_s=END_TIMEOUT_S)


class ShimDied(Exception):
    """The pipe to the shim closed."""


def main() -> None:
    name, output = sys.argv[1], Path(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guard = Guard(name, output)
    try:
        guard.run()
    except (ShimDied, OSError, ValueError):
        guard.kill()
        sys.exit(1)
    finally:
        shutil.rmtree(output.parent, ignore_errors=True)


if __name__ == "__main__":
    main()
