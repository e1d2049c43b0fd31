"""The `gvisor` runtime: see the package. Freezing and killing go through the control groups, which hold gVisor and the job with it.

A dump: SIGSTOP to every process inside, a look that proves that all of them stand, the job's files copied, gVisor's checkpoint (which
lets its kernel go on in place), SIGCONT. So memory and files are of one instant, and the dump is of a job that stands: restored, it
stands until it was checked, its lid was frozen, and a valid lease lets it go on.
"""

import contextlib
import json
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gp4u_agent.runtime.bundle import dumping, record, spec
from gp4u_agent.runtime.bundle.kept import ANSWER_TIMEOUT_S, RESTORE_TIMEOUT_S, KeptBundle
from gp4u_agent.runtime.bundle.programs import Missing, Program
from gp4u_agent.runtime.gvisor import guest, outside
from gp4u_agent.runtime.gvisor.guest import Unreadable
from gp4u_agent.runtime.gvisor.programs import PLATFORM, Runsc, runsc
from gp4u_agent.runtime.port import DumpResult, Exit, StartRefused, Usage, Workload
from gp4u_agent.runtime.trees import usage as used_by

FIRST = f"trap : TERM; {spec.FIRST}"
"""gVisor does not shield process 1 from a SIGTERM to the whole sandbox; a trap that does nothing does, and is not inherited."""
STOP, LOOK, CHECKPOINT, CONTINUE = "stop", "look", "checkpoint", "continue"
_LOOKS_MAX = 20
_FLAGS = (
    *("--network=none", "--net-raw=false", f"--platform={PLATFORM}", "--oci-seccomp", "--host-uds=none"),
    # Without it the kernel of the sandbox would open the job's files itself, and hold capabilities for that.
    *("--directfs=false", "--overlay2=none", "--host-fifo=none"),
)


@dataclass
class _Dump:
    """One under way. `why_not` is set once it has failed; then only the job's going on is waited for."""

    step: str
    into: Path
    began: float
    looks: int = 0
    why_not: str = ""


class Gvisor(KeptBundle):
    """See `port.Runtime` and `port.Dumping`."""

    def __init__(self, *, use_cgroups: bool = True) -> None:
        super().__init__(use_cgroups=use_cgroups)
        self._dumping: _Dump | None = None
        self._stands_inside = False

    def _find(self) -> Program:
        return runsc()

    @property
    def _build(self) -> str:
        assert isinstance(self._program, Runsc)
        return self._program.build

    def _command(self, *words: str) -> list[str]:
        assert self._program is not None
        own = ("--root", str(self._state), "--log", str(self._folder / "runsc.log"))
        return [self._program.path, *own, *_FLAGS, *words]

    def _document(self, workload: Workload, cgroups_path: str) -> dict[str, Any]:
        document = spec.config(workload, cgroups_path=cgroups_path, criu_config=None, first=FIRST)
        document["linux"]["resources"]["pids"]["limit"] = outside.tasks_max(workload.limits)
        return document

    def _prepare(self, workload: Workload, fds: list[int]) -> None:
        if any(device.startswith(("GPU-", "MIG-")) for device in workload.devices):
            raise StartRefused("gVisor's way to a real GPU (nvproxy) has not been proven here")
        super()._prepare(workload, fds)

    def _shortcomings(self) -> list[str]:
        assert self._workload is not None
        limits = self._workload.limits
        bounds = {
            "Max file size": limits.disk_bytes,
            "Max core file size": 0,
            "Max open files": spec.OPEN_FILES_MAX,
            "Max processes": limits.pids_max,
        }
        lacking = outside.shortcomings(self._groups, self._pid, self._workload)
        try:
            return lacking + guest.shortcomings_in(guest.record_in(self._look_now()), bounds)
        except Unreadable as error:
            raise StartRefused(str(error)) from error

    def _identity(self) -> dict[str, str]:
        return {"user": "gVisor: a kernel of its own, user namespace", "engine": f"runsc {self._build}"}

    def _why(self, command_id: str) -> str:
        """Its first words: the rest is where in the program it was."""
        with contextlib.suppress(OSError):
            said = (self._folder / f"{command_id}.out").read_text(errors="replace").strip()
            if said:
                return said.partition("\n")[0][:300]
        with contextlib.suppress(OSError, ValueError, IndexError, KeyError, TypeError):
            last = (self._folder / "runsc.log").read_text(errors="replace").strip().splitlines()[-1]
            return str(json.loads(last)["msg"]).partition("\n")[0][:300]
        return "no reason was told"

    # --- what it takes to ask gVisor ----------------------------------------------------------------------

    def _ask(self, step: str, *words: str) -> None:
        self._run(step, self._command(*words), output=str(self._folder / f"{step}.out"))

    def _signal(self, step: str, name: str) -> None:
        """To every process inside. Answered as soon as the sandbox is not frozen."""
        assert self._workload is not None
        self._ask(step, "kill", "--all", self._workload.name, name)

    def _begin_look(self) -> None:
        assert self._workload is not None
        self._ask(LOOK, "exec", self._workload.name, "/bin/sh", "-c", guest.LOOK)

    def _looked(self) -> str:
        return (self._folder / f"{LOOK}.out").read_text(errors="replace")

    def _look_now(self) -> str:
        """Raises StartRefused, OSError."""
        self._begin_look()
        if (code := self._await(LOOK, ANSWER_TIMEOUT_S)) != 0:
            raise StartRefused(f"the sandbox cannot be looked into: {code}: {self._why(LOOK)}")
        return self._looked()

    def _record(self, said: str) -> dict[str, Any]:
        """Raises Unreadable, OSError."""
        here = {"build": [self._build], **outside.record_of(self._groups, self._pid)}
        return {**here, **guest.record_in(said)}

    # --- living -------------------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        """See `port.Runtime`. The address spaces that the job's processes run in: their numbers mean nothing inside."""
        return [found.pid for found in outside.address_spaces(self._groups, self._pid)]

    def usage(self) -> Usage:
        """See `port.Runtime`. gVisor's own work and memory are the job's; how many processes it has is about right."""
        assert self._workload is not None
        used = used_by(self._tree(), self._groups.inner)
        self._out_of_memory_kills = max(self._out_of_memory_kills, used.out_of_memory_kills)
        # Its own kernel bounds them; a space that is kept for the next process must not end the job.
        count = min(len(self.pids()), self._workload.limits.pids_max)
        return Usage(used.cpu_seconds, used.memory_bytes, count, self._out_of_memory_kills)

    def poll(self) -> Exit | None:
        """See `port.Runtime`. A job that gVisor cannot be told to let go on would stand for ever: it is ended."""
        ended = super().poll()
        if ended is not None and ended.code and self.usage().out_of_memory_kills:
            # What the kernel killed was a part of gVisor, whose other parts then gave up with a code of their own.
            ended = self._exit = Exit(None, int(signal.SIGKILL))
        if ended is None and self._dumping is None and self._told.pop(CONTINUE, 0) != 0:
            self.kill()
        return ended

    def thaw(self) -> None:
        """See `port.Runtime`."""
        super().thaw()
        if self._stands_inside:
            self._stands_inside = False
            self._signal(CONTINUE, "CONT")

    def terminate(self) -> None:
        """See `port.Runtime`."""
        self._signal("terminate", "TERM")

    # --- dumps ------------------------------------------------------------------------------------------

    def begin_dump(self, into: Path) -> None:
        """See `port.Dumping`."""
        assert self._dumping is None
        dumping.empty(into)
        self._dumping = _Dump(STOP, into, time.monotonic())
        self._signal(STOP, "STOP")

    def poll_dump(self) -> DumpResult | None:
        """See `port.Dumping`."""
        now = self._dumping
        if now is None:
            return DumpResult("no dump was begun")
        if self.poll() is not None:
            self._dumping = None
            return DumpResult("the job ended meanwhile", time.monotonic() - now.began)
        code = self._told.pop(now.step, None)
        if code is None:
            return None
        if now.step == CONTINUE:
            self._dumping = None
            if code != 0:
                self.kill()
                now.why_not = f"gVisor could not let the job go on: {self._why(CONTINUE)}"
            return DumpResult(now.why_not, time.monotonic() - now.began)
        try:
            self._next(now, code)
        except (OSError, Unreadable) as error:
            now.why_not = str(error)
        if now.why_not:
            now.step = CONTINUE
            self._signal(CONTINUE, "CONT")
        return None

    def _next(self, now: _Dump, code: int) -> None:
        """What follows a step that is done. Raises OSError, Unreadable."""
        assert self._workload is not None
        if code != 0:
            now.why_not = f"{now.step} answered {code}: {self._why(now.step)}"
            return
        archives = dumping.archive_commands(self._workload, now.into)
        steps = [STOP, LOOK, *archives, CHECKPOINT, CONTINUE]
        following = steps[steps.index(now.step) + 1]
        if now.step == LOOK and guest.running(self._looked()):
            now.looks += 1
            following = STOP  # one was born meanwhile, or has not heard yet
            if now.looks >= _LOOKS_MAX:
                now.why_not = "its processes do not stand still"
                return
        elif now.step == LOOK:
            dumping.write_record(now.into, self._record(self._looked()))
        now.step = following
        if following in archives:
            self._run(following, archives[following], output=str(self._folder / f"{following}.out"))
        elif following == CHECKPOINT:
            self._ask(
                CHECKPOINT,
                # The checkpoint engine compresses what deserves it, and finds what it knows already only in plain bytes.
                *("checkpoint", "--leave-running", "--compression=none"),
                *("--image-path", str(now.into / dumping.IMAGE), self._workload.name),
            )
        elif following == LOOK:
            self._begin_look()
        else:
            self._signal(following, "STOP" if following == STOP else "CONT")

    def restore(self, workload: Workload, dump: Path, output_fd: int) -> None:
        """See `port.Dumping`."""
        try:
            before = dumping.read_record(dump)
            self._prepare(workload, [output_fd])
            if before.get("build") != [self._build]:
                raise StartRefused(f"the dump is of another build of gVisor: {before.get('build')}")
            dumping.extract(workload, dump, spec.host_uid(workload))
            command = self._command(
                *("restore", "--detach", "--image-path", str(dump / dumping.IMAGE)),
                *("--bundle", str(self._folder), "--pid-file", str(self._folder / "pid"), workload.name),
            )
            self._bring_up("restore", command, None, output_fd, RESTORE_TIMEOUT_S)
            said = self._look_now()
            if runs := guest.running(said):
                raise StartRefused(f"of the restored job {len(runs)} processes do not stand")
            if changed := record.differences(before, self._record(said)):
                raise StartRefused(f"the restored job is not confined as it was: {'; '.join(changed)}")
            self._applied["restored_by"] = f"runsc {self._build}"
            self._freeze_now()
            self._stands_inside = True
        except (OSError, Missing, Unreadable, subprocess.SubprocessError) as error:
            self._give_up()
            raise StartRefused(f"the dump cannot be restored: {error}") from error
        except StartRefused:
            self._give_up()
            raise
