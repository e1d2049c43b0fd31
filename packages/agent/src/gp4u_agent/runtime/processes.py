"""Reading /proc: the tree below a process, what it uses, whether it can run."""

import ctypes
import os
import signal
from typing import NamedTuple

CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_STOPPED = frozenset("TtZX")  # stopped, traced, zombie, dead: cannot run


class Stat(NamedTuple):
    """The fields of /proc/<pid>/stat that we need."""

    pid: int
    state: str
    parent: int
    cpu_seconds: float
    started_ticks: int
    memory_bytes: int


def read_stat(pid: int) -> Stat | None:
    """The process's state now, or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode("ascii", "replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(
        pid=pid,
        state=fields[0],
        parent=int(fields[1]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S,
        started_ticks=int(fields[19]),
        memory_bytes=int(fields[21]) * PAGE_BYTES,
    )


def alive(pid: int, started_ticks: int) -> bool:
    """Whether this very process (not a later one with its number) still exists and is no zombie."""
    found = read_stat(pid)
    return found is not None and found.started_ticks == started_ticks and found.state not in "ZX"


def descendants(root: int, but_not: frozenset[int] = frozenset()) -> list[Stat]:
    """Every process below `root`, without `root` itself and without `but_not` and what is below those.

    /proc is not read in one instant: a process whose parent dies meanwhile is seen under a parent that is gone, and
    would be missed. It has its new parent by the second look, so what either look finds is returned.
    """
    found = {stat.pid: stat for stat in _look_below(root, but_not)}
    found.update({stat.pid: stat for stat in _look_below(root, but_not)})
    return list(found.values())


def _look_below(root: int, but_not: frozenset[int]) -> list[Stat]:
    children: dict[int, list[Stat]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := read_stat(int(name))) is not None:
            children.setdefault(found.parent, []).append(found)
    below: list[Stat] = []
    queue = [root]
    while queue:
        for child in children.get(queue.pop(), []):
            if child.pid not in but_not:
                below.append(child)
                queue.append(child.pid)
    return below


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for the signal. False for one that is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            caught = next((line for line in status if line.startswith("SigCgt:")), "SigCgt: 0")
    except OSError:
        return False
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def die_with_parent() -> None:
    """Between fork and exec: SIGKILL when the thread that forked ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def send(pids: list[int], number: signal.Signals) -> None:
    """The signal to each; those already gone are none of our concern."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def all_stopped(stats: list[Stat]) -> bool:
    """Whether none of them can run."""
    return all(found.state in _STOPPED for found in stats)


def exists(stats: list[Stat]) -> list[Stat]:
    """Those that are more than a zombie."""
    return [found for found in stats if found.state not in "ZX"]
