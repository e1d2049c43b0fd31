"""The `process` runtime: the job as plain processes of the agent's user, with NO isolation.

For demos on machines where bubblewrap cannot work, only behind an explicit flag, and never without a warning. It keeps
the promises that the lease needs all the same: a *guard* stands between shim and job, is the reaper of everything the
job starts (so nothing can slip away by forking twice), and kills it all when the shim's end of a pipe closes.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from typing import NoReturn

from gp4u_agent.runtime import cgroups, processes, trees
from gp4u_agent.runtime.environment import job_environment, system_path
from gp4u_agent.runtime.port import Exit, JobPaths, Limits, Probe, StartRefused, Usage, Workload

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_KILL_TIMEOUT_S = 5.0


class PlainProcesses:
    """See `port.Runtime`."""

    def __init__(self, *, use_cgroups: bool = True) -> None:
        self._use_cgroups = use_cgroups
        self._groups = cgroups.JobCgroups()
        self._guard_pid = 0
        self._leash = -1  # our end; closing it (or dying) is the order to kill
        self._result = -1
        self._exit: Exit | None = None
        self._applied: dict[str, str] = {}
        self._before: frozenset[int] = frozenset()

    def paths(self, workload: Workload) -> JobPaths:
        """The host's own folders: nothing is hidden from the job."""
        return JobPaths(
            job=str(workload.job_dir),
            control=str(workload.control_dir),
            inside=str(workload.inside_dir),
            path=system_path(),
        )

    def start(self, workload: Workload, output_fd: int) -> None:
        """See `port.Runtime`."""
        if self._use_cgroups:
            self._groups = cgroups.create(workload.name)
            limits = workload.limits
            self._applied = {
                f"cgroup.{purpose}": value
                for purpose, value in self._groups.limit(
                    memory_bytes=limits.memory_bytes, pids_max=limits.pids_max, cpus=limits.cpus
                ).items()
            }
        environment = job_environment(workload, self.paths(workload))
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # should the guard be killed, its orphans come to the shim
        # What stands below us already is not the job's, and must never be frozen or killed with it.
        self._before = frozenset(stat.pid for stat in processes.descendants(os.getpid()))
        leash_read, self._leash = os.pipe()
        self._result, result_write = os.pipe()
        self._guard_pid = os.fork()
        if self._guard_pid == 0:
            os.close(self._leash)
            os.close(self._result)
            _guard(workload, environment, self._groups, output_fd, leash_read, result_write)
        os.close(leash_read)
        os.close(result_write)
        ready, _, _ = select.select([self._result], [], [], 10)
        first = os.read(self._result, 1) if ready else b""
        if first != b"s":
            self.kill()
            self.clean_up()
            raise StartRefused("the job's shell could not be started")

    def applied(self) -> dict[str, str]:
        """See `port.Runtime`."""
        return {"user": "not isolated", **self._applied}

    def exit_fd(self) -> int | None:
        """See `port.Runtime`."""
        return self._result if self._result >= 0 else None

    def poll(self) -> Exit | None:
        """See `port.Runtime`."""
        if self._exit is None and self._result >= 0 and select.select([self._result], [], [], 0)[0]:
            said = os.read(self._result, 4096)
            if said:
                document = json.loads(said.split(b"\n", 1)[0])
                self._exit = Exit(document["code"], document["signal"])
            else:  # the guard was killed
                processes.send([found.pid for found in self._tree()], signal.SIGKILL)
                self._exit = Exit(None, int(signal.SIGKILL))
        return self._exit

    def _tree(self) -> list[processes.Stat]:
        if not self._guard_pid:
            return []
        found = [
            stat for stat in processes.descendants(os.getpid(), self._before) if stat.pid != self._guard_pid
        ]
        return processes.exists(found)

    def pids(self) -> list[int]:
        """See `port.Runtime`."""
        return [found.pid for found in self._tree()]

    def usage(self) -> Usage:
        """See `port.Runtime`."""
        return trees.usage(self._tree(), self._groups)

    def freeze(self) -> bool:
        """See `port.Runtime`."""
        return trees.freeze(self._tree, self._groups)

    def thaw(self) -> None:
        """See `port.Runtime`."""
        trees.thaw(self._tree, self._groups)

    def terminate(self) -> None:
        """See `port.Runtime`."""
        processes.send(self.pids(), signal.SIGTERM)

    def kill(self) -> None:
        """See `port.Runtime`."""
        if not self._guard_pid:
            return
        self._groups.kill_all()
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while (tree := self._tree()) and time.monotonic() < deadline:
            processes.send([found.pid for found in tree], signal.SIGKILL)
            if "freeze" in self._groups.purposes:
                self._groups.thaw()
            time.sleep(0.01)
        if self._leash >= 0:
            os.close(self._leash)
            self._leash = -1
        self.poll()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._guard_pid, 0)
        self._guard_pid = 0
        if self._exit is None:
            self._exit = Exit(None, int(signal.SIGKILL))

    def clean_up(self) -> None:
        """See `port.Runtime`."""
        self._groups.remove()
        for fd in (self._leash, self._result):
            if fd >= 0:
                os.close(fd)
        self._leash = self._result = -1


def _guard(
    workload: Workload,
    environment: dict[str, str],
    groups: cgroups.JobCgroups,
    output_fd: int,
    leash: int,
    result: int,
) -> NoReturn:
    """The guard's whole life. It never returns into the shim's code."""
    try:
        os.setsid()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _close_all_but({0, 1, 2, output_fd, leash, result})
        job = os.fork()
        if job == 0:
            _become_job(workload, environment, groups, output_fd)
        os.close(output_fd)  # so that the shim sees the end of the output when the job closes it
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.write(result, b"s")
        job_fd = os.pidfd_open(job)
        while True:
            ready, _, _ = select.select([leash, job_fd], [], [], 1.0)
            if leash in ready:  # nothing is ever written: this is the shim's end
                _kill_below(groups)
                os._exit(1)
            if job_fd in ready:
                _, status = os.waitpid(job, 0)
                code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
                number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
                _kill_below(groups)
                os.write(result, json.dumps({"code": code, "signal": number}).encode() + b"\n")
                os._exit(0)
            with contextlib.suppress(ChildProcessError):
                _reap_orphans(job)
    except BaseException:
        _kill_below(groups)
        os._exit(1)


def _reap_orphans(job: int) -> None:
    """Collect what was orphaned to us, but leave the job's own status to its descriptor."""
    while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and found.si_pid != job:
        os.waitpid(found.si_pid, os.WNOHANG)


def _become_job(
    workload: Workload, environment: dict[str, str], groups: cgroups.JobCgroups, output_fd: int
) -> NoReturn:
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        groups.enter()
        _bound(workload.limits, "memory" not in groups.purposes)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        os.closerange(3, 4096)
        os.chdir(workload.job_dir)
        for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.execve("/bin/sh", ["/bin/sh", "-c", workload.command], environment)  # noqa: S606
    except BaseException as error:
        os.write(2, f"gp4u: the job's shell could not be started: {error}\n".encode())
        os._exit(126)


def _bound(limits: Limits, address_space: bool) -> None:
    bounds = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: limits.disk_bytes, resource.RLIMIT_NOFILE: 4096}
    if address_space:
        bounds[resource.RLIMIT_AS] = limits.memory_bytes * 4 + (8 << 30)
    for which, bound in bounds.items():
        _, hard = resource.getrlimit(which)
        value = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(which, (value, value))


def _kill_below(groups: cgroups.JobCgroups) -> None:
    """Kill everything below the guard, again until nothing is left: a fork may have raced the first round."""
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while time.monotonic() < deadline:
        tree = processes.exists(processes.descendants(os.getpid()))
        if not tree:
            return
        processes.send([found.pid for found in tree], signal.SIGKILL)
        if "freeze" in groups.purposes:
            with contextlib.suppress(OSError):
                groups.thaw()
        time.sleep(0.01)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _close_all_but(keep: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def probe() -> Probe:
    """Plain processes work wherever /proc does; they isolate nothing, and say so."""
    if sys.platform != "linux":
        return Probe(False, "", "needs Linux")
    return Probe(
        True, "NOT ISOLATED", weaker=("jobs can read and change everything that the agent's user can",)
    )
