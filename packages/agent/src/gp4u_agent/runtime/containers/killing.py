"""Killing what runs in a container without asking its engine, which may hang."""

import contextlib
import select
import signal
import time

from gp4u_agent.runtime.cgroups import JobCgroups

_LOOK_AGAIN_S = 0.01


def kill_processes(pidfd: int, groups: JobCgroups, *, within_s: float) -> None:
    """Kill the container's first process, by its descriptor (below 0: there is none), and everything in its groups.

    Blocks until that process has ended, or for `within_s`. Its end is the end of all in the container.
    """
    deadline = time.monotonic() + within_s
    while pidfd >= 0 and time.monotonic() < deadline:
        groups.kill_all()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        with contextlib.suppress(OSError, KeyError):
            groups.thaw()  # version 1 delivers the kill only now
            groups.thaw_below_the_lid()
        if select.select([pidfd], [], [], _LOOK_AGAIN_S)[0]:
            break
