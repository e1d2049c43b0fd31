"""A job in an OCI bundle under a keeper: what runc and gVisor's runsc have in common. Freezing and killing go through the control groups.

Who fills it in says which program runs the bundle, what its `config.json` says, and what proves that the job is isolated.
"""

import abc
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gp4u_agent.runtime import processes, seccomp, trees
from gp4u_agent.runtime.bundle import keeper, spec
from gp4u_agent.runtime.bundle.groups import Groups
from gp4u_agent.runtime.bundle.programs import Missing, Program
from gp4u_agent.runtime.cgroups import version_1_is_mounted
from gp4u_agent.runtime.mounts import give_to
from gp4u_agent.runtime.port import Exit, JobPaths, StartRefused, Usage, Workload

ANSWER_TIMEOUT_S = 30.0
RESTORE_TIMEOUT_S = 600.0
FREEZE_TIMEOUT_S = 10.0
LOOK_AGAIN_S = 0.005
_KILL_TIMEOUT_S = 5.0
_CLEAN_UP_TIMEOUT_S = 30.0


class KeptBundle(abc.ABC):
    """See `port.Runtime`."""

    def __init__(self, *, use_cgroups: bool = True) -> None:
        self._use_cgroups = use_cgroups
        self._keeper: subprocess.Popen[bytes] | None = None
        self._answers = b""
        self._told: dict[str, int] = {}
        self._folder = Path()
        self._program: Program | None = None
        self._path = os.defpath
        self._workload: Workload | None = None
        self._pid = 0
        self._pidfd = -1
        self._groups = Groups()
        self._applied: dict[str, str] = {}
        self._out_of_memory_kills = 0
        self._exit: Exit | None = None

    # --- what differs -----------------------------------------------------------------------------------

    @abc.abstractmethod
    def _find(self) -> Program:
        """The program that runs the bundle. Raises Missing."""

    @abc.abstractmethod
    def _command(self, *words: str) -> list[str]:
        """The program, with the flags that it takes for every order, and this order."""

    @abc.abstractmethod
    def _document(self, workload: Workload, cgroups_path: str) -> dict[str, Any]:
        """The bundle's `config.json`. Raises OSError."""

    @abc.abstractmethod
    def _shortcomings(self) -> list[str]:
        """What the job lacks of the isolation that was asked for, once its first process is there. Raises OSError, StartRefused."""

    @abc.abstractmethod
    def _identity(self) -> dict[str, str]:
        """What isolates and runs it, for the record."""

    @abc.abstractmethod
    def _why(self, command_id: str) -> str:
        """What the program complained of when it failed at this."""

    # --- starting ---------------------------------------------------------------------------------------

    def paths(self, workload: Workload) -> JobPaths:
        """Fixed folders, whatever the host's are."""
        return spec.paths()

    def start(self, workload: Workload, output_fd: int) -> None:
        """See `port.Runtime`."""
        gate_read, gate_write = os.pipe()
        try:
            try:
                self._prepare(workload, [output_fd, gate_read])
                command = self._command(
                    *("run", "--detach", "--bundle", str(self._folder)),
                    *("--pid-file", str(self._folder / "pid"), workload.name),
                )
                self._bring_up("run", command, gate_read, output_fd, ANSWER_TIMEOUT_S)
            finally:
                os.close(gate_read)
            os.write(gate_write, b"go\n")
        except (OSError, Missing, subprocess.SubprocessError) as error:
            self._give_up()
            raise StartRefused(f"the bundle cannot be run: {error}") from error
        except StartRefused:
            self._give_up()
            raise
        finally:
            os.close(gate_write)

    def _prepare(self, workload: Workload, fds: list[int]) -> None:
        """The bundle, and its keeper. Raises StartRefused, Missing, OSError."""
        if os.geteuid() != 0 or not self._use_cgroups:
            raise StartRefused("bundles need an agent that is root: it could not freeze or check them")
        if not seccomp.supported():
            raise StartRefused("there is no seccomp filter for this node's processor")
        if workload.image is not None:
            raise StartRefused("a bundle runs the node's own system, not an image")
        if workload.network:
            raise StartRefused("a bundle has no network")
        self._workload, self._program = workload, self._find()
        uid = spec.host_uid(workload)
        give_to(workload.job_dir, uid)
        give_to(workload.control_dir, uid)
        self._folder = Path(tempfile.mkdtemp(prefix="gp4u-bundle-"))
        os.chmod(self._folder, 0o711)  # noqa: S103 - the job's root passes through to its root file system
        inner = f"gp4u/{workload.name}/{spec.GROUP}"
        # A relative path lies below our own group, an absolute one below the mount's root.
        document = self._document(workload, inner if version_1_is_mounted() else f"/{inner}")
        spec.make_root(self._folder / "rootfs", document["mounts"])
        binds = spec.stage(document["mounts"], self._folder / "mounts")
        (self._folder / "config.json").write_text(json.dumps(document))
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", keeper.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
            pass_fds=fds,
        )
        assert self._keeper.stdout is not None
        os.set_blocking(self._keeper.stdout.fileno(), False)
        self._order(
            op="prepare",
            name=workload.name,
            bundle=str(self._folder),
            state=str(self._state),
            program=self._program.path,
            binds=binds,
            root=str(self._folder / "rootfs"),
        )
        self._await("ready", ANSWER_TIMEOUT_S)

    def _bring_up(
        self, command_id: str, command: list[str], stdin: int | None, output: int, within_s: float
    ) -> None:
        """Have the program make the job's first process, and prove its isolation. Raises StartRefused, OSError."""
        assert self._workload is not None
        self._run(command_id, command, stdin=stdin, output=output)
        code = self._await(command_id, within_s)
        if code != 0:
            raise StartRefused(f"{Path(command[0]).name} answered {code}: {self._why(command_id)}")
        self._pid = int((self._folder / "pid").read_text())
        self._pidfd = os.pidfd_open(self._pid)
        self._order(op="hold", pid=self._pid)
        self._groups = Groups.of_process(self._pid)
        lacking = self._shortcomings()
        if not self._groups.can_freeze:
            lacking.append("it cannot be frozen")
        if lacking:
            raise StartRefused(f"the job is not isolated as it must be: {'; '.join(lacking)}")
        self._applied = {
            **self._identity(),
            "container.pid": str(self._pid),
            **{f"cgroup.{purpose}": value for purpose, value in self._groups.inner.read_back().items()},
        }

    def _freeze_now(self) -> None:
        """By the lid. Raises StartRefused, OSError."""
        deadline = time.monotonic() + FREEZE_TIMEOUT_S
        while not self._groups.freeze():
            if time.monotonic() > deadline:
                raise StartRefused("the restored job cannot be frozen")
            time.sleep(LOOK_AGAIN_S)

    @property
    def _state(self) -> Path:
        return self._folder / "state"

    def _give_up(self) -> None:
        self.kill()
        self.clean_up()

    # --- the keeper -------------------------------------------------------------------------------------

    def _run(
        self, command_id: str, argv: list[str], *, stdin: int | None = None, output: int | str | None = None
    ) -> None:
        """Have the keeper run a command; what comes of it is told under this id. `output`: a descriptor that it got, or a file."""
        self._order(op="run", id=command_id, argv=argv, stdin=stdin, output=output, path=self._path)

    def _order(self, **order: Any) -> None:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        with contextlib.suppress(OSError):  # it died: whoever waits for its answer sees to that
            self._keeper.stdin.write(json.dumps(order).encode() + b"\n")
            self._keeper.stdin.flush()

    def _await(self, answer: str, within_s: float) -> int:
        """Raises StartRefused when the keeper dies or says nothing in time."""
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        deadline = time.monotonic() + within_s
        while answer not in self._told:
            left = deadline - time.monotonic()
            if left <= 0 or not self._listen():
                raise StartRefused(f"the bundle's keeper did not answer ({answer})")
            select.select([self._keeper.stdout], [], [], max(0.0, min(left, 1.0)))
        return self._told.pop(answer)

    def _listen(self) -> bool:
        """Take what the keeper said; False: it is gone."""
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        alive = True
        with contextlib.suppress(BlockingIOError):
            while alive:
                piece = os.read(self._keeper.stdout.fileno(), 65536)
                self._answers += piece
                alive = bool(piece)
        *lines, self._answers = self._answers.split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "exit" in said:
                self._exit = _exit_of(said["exit"])
            elif "failed" in said:
                raise StartRefused(said["failed"])
            else:
                self._told[said.get("id", "ready")] = said.get("code", 0)
        return alive

    # --- living -----------------------------------------------------------------------------------------

    def applied(self) -> dict[str, str]:
        """See `port.Runtime`."""
        return dict(self._applied)

    def exit_fd(self) -> int | None:
        """See `port.Runtime`."""
        return self._pidfd if self._pidfd >= 0 else None

    def poll(self) -> Exit | None:
        """See `port.Runtime`."""
        if self._exit is not None or self._keeper is None or self._pidfd < 0:
            return self._exit
        alive = True
        with contextlib.suppress(StartRefused):
            alive = self._listen()
        if self._exit is None and not alive:  # without its keeper nobody would end the job after us
            self.kill()
            self._exit = Exit(None, int(signal.SIGKILL))
        return self._exit

    def _tree(self) -> list[processes.Stat]:
        found = [processes.read_stat(pid) for pid in self._groups.pids()]
        return processes.exists([stat for stat in found if stat is not None])

    def pids(self) -> list[int]:
        """See `port.Runtime`. Without the namespace's first process, which is ours."""
        return [found.pid for found in self._tree() if found.pid != self._pid]

    def usage(self) -> Usage:
        """See `port.Runtime`."""
        tree = [found for found in self._tree() if found.pid != self._pid]
        used = trees.usage(tree, self._groups.inner)
        self._out_of_memory_kills = max(self._out_of_memory_kills, used.out_of_memory_kills)
        return Usage(used.cpu_seconds, used.memory_bytes, used.processes, self._out_of_memory_kills)

    def freeze(self) -> bool:
        """See `port.Runtime`. Holds during a dump as well: see `groups`."""
        if self._gone():
            return True
        try:
            return self._groups.freeze()
        except (OSError, KeyError):
            return self._gone()

    def thaw(self) -> None:
        """See `port.Runtime`."""
        with contextlib.suppress(OSError, KeyError):
            self._groups.thaw()

    def terminate(self) -> None:
        """See `port.Runtime`."""
        processes.send(self.pids(), signal.SIGTERM)

    def kill(self) -> None:
        """See `port.Runtime`. The end of the namespace's first process is the end of all in it."""
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while (self._groups.pids() or not self._gone()) and time.monotonic() < deadline:
            self._groups.kill(self._pidfd)
            time.sleep(LOOK_AGAIN_S)

    def _gone(self) -> bool:
        return self._pidfd < 0 or bool(select.select([self._pidfd], [], [], 0)[0])

    def clean_up(self) -> None:
        """See `port.Runtime`."""
        if self._keeper is not None:
            self._order(op="done")
            assert self._keeper.stdin is not None
            assert self._keeper.stdout is not None
            with contextlib.suppress(OSError):
                self._keeper.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(_CLEAN_UP_TIMEOUT_S)
            self._keeper.kill()
            self._keeper.wait()
            with contextlib.suppress(StartRefused, OSError):
                self._listen()
            self._keeper.stdout.close()
            self._keeper = None
        self._groups.remove()
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _exit_of(status: int) -> Exit:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return Exit(None, -code)
    if code > 128 and code - 128 in signal.valid_signals():
        return Exit(None, code - 128)
    return Exit(code, None)
