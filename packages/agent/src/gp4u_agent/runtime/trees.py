"""Measure, freeze and thaw a job's process tree: by its control groups where there are some, by signals where not."""

import signal
from collections.abc import Callable, Sequence

from gp4u_agent.runtime import processes
from gp4u_agent.runtime.cgroups import JobCgroups
from gp4u_agent.runtime.port import Usage

Tree = Callable[[], list[processes.Stat]]


def usage(tree: Sequence[processes.Stat], groups: JobCgroups) -> Usage:
    """What the processes use now."""
    memory = groups.memory_bytes()
    return Usage(
        cpu_seconds=sum(found.cpu_seconds for found in tree),
        memory_bytes=sum(found.memory_bytes for found in tree) if memory is None else memory,
        processes=len(tree),
        out_of_memory_kills=groups.out_of_memory_kills(),
    )


def freeze(tree: Tree, groups: JobCgroups) -> bool:
    """Ask for the freeze; True once every process stands still. Without groups the tree is read again to see that."""
    if "freeze" in groups.purposes:
        try:
            return groups.freeze()
        except OSError:
            groups.give_up("freeze")  # somebody took the group away under us: signals are what is left
    processes.send([found.pid for found in tree() if found.state not in "Tt"], signal.SIGSTOP)
    return processes.all_stopped(tree())


def thaw(tree: Tree, groups: JobCgroups) -> None:
    """Let the processes go on."""
    if "freeze" in groups.purposes:
        try:
            groups.thaw()
        except OSError:
            groups.give_up("freeze")
    if "freeze" not in groups.purposes:
        processes.send([found.pid for found in tree()], signal.SIGCONT)
