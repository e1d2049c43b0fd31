"""`python -m gp4u_agent.runtime.bundle.keeper`: runs runc or runsc for a shim, is the parent of the job, and ends it when the shim dies.

A container is nobody's child once they have gone: no death signal reaches it and nobody hears how it ended. So the keeper takes in
what they leave behind (it is a *subreaper*) and holds one end of a pipe whose other end dies with the shim. The shim in turn ends the
job when the keeper dies. It works in a mount namespace of its own, so that the mounts it prepares vanish with it.

Orders, JSON lines on stdin:

    {"op": "prepare", "name": …, "bundle": …, "state": …, "program": …, "binds": [[source, target], …], "root": …}
    {"op": "run", "id": …, "argv": […], "stdin": fd or null, "output": fd, file or null, "path": …}
    {"op": "hold", "pid": …}            this is the job's first process: say how it ends
    {"op": "done"}                      it has ended: clean up and go

Answers, JSON lines on stdout: `{"id": …, "code": …}` of a command, `{"ready": true}`, `{"exit": wait status}`.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

from gp4u_agent.runtime.bundle.groups import Groups

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 32, 4096, 16384, 1 << 19
END_TIMEOUT_S = 60.0
_LOOK_AGAIN_S = 0.02
_DELETE_TIMEOUT_S = 20.0

_libc = ctypes.CDLL(None, use_errno=True)


class ShimDied(Exception):
    """The pipe to the shim closed."""


class Keeper:
    """State of one keeper."""

    def __init__(self) -> None:
        self._order: dict[str, Any] = {}
        self._words = b""
        self._commands: dict[int, str] = {}
        self._ended: dict[int, int] = {}
        self._pid = 0
        self._pidfd = -1
        self._groups = Groups()

    def run(self) -> None:
        """Until the shim says that it is done. Raises ShimDied."""
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([0, read_end], [], [])
            if read_end in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(read_end, 4096)
                self._reap()
            if 0 in ready:
                piece = os.read(0, 65536)
                if not piece:
                    raise ShimDied
                *lines, self._words = (self._words + piece).split(b"\n")
                for line in lines:
                    order = json.loads(line)
                    if order["op"] == "done":
                        return
                    self._obey(order)

    def _obey(self, order: dict[str, Any]) -> None:
        if order["op"] == "prepare":
            self._order = order
            _own_mounts(order["binds"], order["root"])
            _say({"ready": True})
        elif order["op"] == "run":
            self._run(order)
        elif order["op"] == "hold":
            self._pid = order["pid"]
            with contextlib.suppress(OSError):
                self._groups = Groups.of_process(self._pid)
                self._pidfd = os.pidfd_open(self._pid)
            self._tell_end()

    def _run(self, order: dict[str, Any]) -> None:
        output = order["output"]
        if isinstance(output, str):
            output = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        process = subprocess.Popen(
            order["argv"],
            stdin=subprocess.DEVNULL if order["stdin"] is None else order["stdin"],
            stdout=subprocess.DEVNULL if output is None else output,
            stderr=subprocess.DEVNULL if output is None else output,
            cwd="/",
            env={"PATH": order["path"], "LANG": "C.UTF-8"},
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        self._commands[process.pid] = order["id"]
        process.returncode = 0  # it is reaped here, with all that it leaves behind
        for fd in {order["stdin"], output} - {None}:
            os.close(fd)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            command = self._commands.pop(pid, None)
            if command is not None:
                _say({"id": command, "code": os.waitstatus_to_exitcode(status)})
            else:
                self._ended[pid] = status
        self._tell_end()

    def _tell_end(self) -> None:
        if self._pid and self._pid in self._ended:
            _say({"exit": self._ended[self._pid]})
            self._pid = 0

    def end(self) -> None:
        """End every process of the job, then have the program forget it, and remove the bundle."""
        for pid in self._commands:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        deadline = time.monotonic() + END_TIMEOUT_S
        while self._groups.pids() and time.monotonic() < deadline:
            self._groups.kill(self._pidfd)
            time.sleep(_LOOK_AGAIN_S)
        if self._order:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(
                    [self._order["program"], "--root", self._order["state"], "delete", "--force", self._order["name"]],
                    capture_output=True,
                    timeout=_DELETE_TIMEOUT_S,
                    check=False,
                )  # fmt: skip
        self._groups.remove()
        if self._order:
            for _, place in reversed(self._order["binds"]):
                _libc.umount2(place.encode(), 2)
            _libc.umount2(self._order["root"].encode(), 2)
            shutil.rmtree(self._order["bundle"], ignore_errors=True)


def _own_mounts(binds: list[list[str]], root: str) -> None:
    """A mount namespace of our own, and in it everything that the job will see, where its root can reach it. Raises OSError."""
    _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
    _checked(_libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None), "mount /")
    for source, place in binds:
        _checked(_libc.mount(source.encode(), place.encode(), None, _MS_BIND, None), f"bind {source}")
    bound = root.encode()
    _checked(_libc.mount(bound, bound, None, _MS_BIND, None), "bind the root")
    flags = _MS_REMOUNT | _MS_BIND | _MS_NOSUID | _MS_NODEV
    _checked(_libc.mount(None, bound, None, flags, None), "restrict the root")


def _checked(answer: int, what: str) -> None:
    if answer != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _say(answer: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(answer).encode() + b"\n")


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    keeper = Keeper()
    failed = False
    try:
        keeper.run()
    except (ShimDied, OSError, ValueError, KeyError) as error:
        failed = True
        if not isinstance(error, ShimDied):
            _say({"failed": str(error)})
    keeper.end()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
