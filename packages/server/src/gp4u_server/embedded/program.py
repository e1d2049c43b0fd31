"""A program that we start and that must not outlive us."""

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

PORTS_TRIED = 3
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class ServerFailed(Exception):
    """An embedded server did not start or its folder cannot be used. The message is for the person at the keyboard."""


@dataclass(frozen=True)
class Program:
    """What to start, and how to stop it.

    Attributes:
        uid, gid: run as this user instead of ours (only root can).
        stop_signal: asks for a clean end.
        death_signal: what the kernel sends it when we die without a word; the stop signal unless given.
        pass_fds: descriptors that it inherits.
    """

    name: str
    argv: Sequence[str]
    cwd: Path = Path("/")
    environment: Mapping[str, str] | None = None
    uid: int | None = None
    gid: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals | None = None
    pass_fds: Sequence[int] = field(default=())


class Prepared(Protocol):
    """A server that is ready to start."""

    @property
    def program(self) -> Program: ...

    def is_ready(self) -> bool: ...


PreparedServer = TypeVar("PreparedServer", bound=Prepared)


def dies_with_parent(parent_pid: int, death_signal: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends `death_signal` to the child when the thread that started it ends.

    Python runs it after the change of user, and only so it lasts: the kernel forgets the wish when the user
    changes. Start programs from the main thread: the wish is tied to the starting thread, not to the process.
    """

    def ask_kernel() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent_pid:  # we died between the fork and the wish
                os.kill(os.getpid(), signal.SIGKILL)

    return ask_kernel


def popen_arguments(program: Program) -> dict[str, Any]:
    """Keyword arguments for `subprocess.Popen` and its asyncio twin.

    The program gets a session of its own, so that a terminal's Ctrl-C reaches only us.
    """
    as_user = program.uid is not None
    return {
        "cwd": program.cwd,
        "env": None if program.environment is None else dict(program.environment),
        "stdin": subprocess.DEVNULL,
        "stderr": subprocess.STDOUT,
        "user": program.uid,
        "group": program.gid,
        "extra_groups": [] if as_user else None,
        "start_new_session": True,
        "pass_fds": tuple(program.pass_fds),
        "preexec_fn": dies_with_parent(os.getpid(), program.death_signal or program.stop_signal),
    }


def start(program: Program, output: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start `program` with its output going into `output`."""
    return subprocess.Popen(list(program.argv), stdout=output, **popen_arguments(program))


def stop(process: "subprocess.Popen[bytes]", stop_signal: signal.Signals, timeout_s: float = 20.0) -> None:
    """Ask for a clean end, wait, and kill what is still there after `timeout_s`."""
    if process.poll() is not None:
        return
    process.send_signal(stop_signal)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on right now. Another program may take it before we do: be ready to ask again."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def secret_file(path: Path, make: Callable[[], bytes] = lambda: secrets.token_hex(24).encode()) -> bytes:
    """The content of `path`, made on first use; readable by its owner only."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    content = make()
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    return content


def wait_until(
    ready: Callable[[], bool], process: "subprocess.Popen[bytes]", *, name: str, log: Path, timeout_s: float
) -> None:
    """Poll `ready` until it answers True. Raises ServerFailed with the last lines of `log` otherwise."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if process.poll() is not None:
            raise ServerFailed(f"{name} ended with code {process.returncode}:\n{last_lines(log)}")
        if time.monotonic() > deadline:
            raise ServerFailed(f"{name} was not ready after {timeout_s:.0f} s:\n{last_lines(log)}")
        time.sleep(0.02)


def start_where_free(
    prepare: Callable[[], PreparedServer],
    *,
    name: str,
    log: Path,
    timeout_s: float,
    give_up_signal: signal.Signals,
    port_taken: str,
) -> tuple[PreparedServer, "subprocess.Popen[bytes]"]:
    """Prepare a server, start it and wait until it answers; with another port when its log says `port_taken`.

    Somebody may take the port between our choice and the server's bind. Raises ServerFailed.
    """
    for attempt in range(PORTS_TRIED):
        prepared = prepare()
        with log.open("ab") as output:
            process = start(prepared.program, output)
        try:
            wait_until(prepared.is_ready, process, name=name, log=log, timeout_s=timeout_s)
        except ServerFailed:
            stop(process, give_up_signal)
            if attempt + 1 < PORTS_TRIED and port_taken in last_lines(log):
                continue
            raise
        return prepared, process
    raise ServerFailed(f"{name} found no free port on the loopback address.")


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log file, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(f"  {line}" for line in lines[-count:])
