"""The `containers` runtime: see the package. Freezing and killing go through the kernel, never through the engine's daemon.

That the lease can be kept must not depend on a daemon that hangs or is being upgraded, so the container's control groups are
used directly. Nothing of the job runs before its isolation was read back from the kernel (see `hardening.FIRST`).
"""

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
from typing import TYPE_CHECKING, Any

from gp4u_agent.runtime import cgroups, processes, seccomp, seccomp_profile, trees
from gp4u_agent.runtime.bundle import record
from gp4u_agent.runtime.bundle.dumping import IMAGE, empty, extract, read_record, write_record
from gp4u_agent.runtime.cgroups import JobCgroups
from gp4u_agent.runtime.containers import dumping, hardening, libpod, making
from gp4u_agent.runtime.containers.engine import Engine, EngineUnavailable, connect, process_of
from gp4u_agent.runtime.containers.images import inspect
from gp4u_agent.runtime.containers.killing import kill_processes
from gp4u_agent.runtime.containers.leftovers import container_name, end_container
from gp4u_agent.runtime.environment import job_environment
from gp4u_agent.runtime.mounts import give_to, job_uid
from gp4u_agent.runtime.port import DumpResult, Exit, JobPaths, StartRefused, Usage, Workload

if TYPE_CHECKING:
    from docker import APIClient

_KILL_TIMEOUT_S = 5.0
_FREEZE_TIMEOUT_S = 10.0
_LOOK_AGAIN_S = 0.005
_CLEAN_UP_TIMEOUT_S = 20.0
_ENGINE_SILENT_S = 10.0
"""How long after the container's end the engine is asked how it ended."""
_GUARD_DRAIN_S = 10.0


class Containers:
    """See `port.Runtime` and `port.Dumping`."""

    def __init__(self, *, use_cgroups: bool = True) -> None:
        self._use_cgroups = use_cgroups
        self._client: APIClient | None = None
        self._name = ""
        self._placement = ""
        self._guard: subprocess.Popen[bytes] | None = None
        self._guard_done_at: float | None = None
        self._output: Path | None = None
        self._pid = 0
        self._pidfd = -1
        self._groups = JobCgroups()
        self._applied: dict[str, str] = {}
        self._path: tuple[str, ...] = hardening.SYSTEM_PATH
        self._out_of_memory_kills = 0
        self._exit: Exit | None = None
        self._uid = 0
        self._workload: Workload | None = None
        self._engine: Engine | None = None
        self._dumping: tuple[subprocess.Popen[bytes], Path, float] | None = None

    # --- starting ---------------------------------------------------------------------------------------

    def paths(self, workload: Workload) -> JobPaths:
        """Fixed folders, and the image's own PATH."""
        return JobPaths(
            job=hardening.JOB, control=hardening.CONTROL, inside=hardening.INSIDE, path=self._path
        )

    def start(self, workload: Workload, output_fd: int) -> None:
        """See `port.Runtime`. The image must be here already (`images.ensure`)."""
        self._bring_up(workload, output_fd, None)

    def restore(self, workload: Workload, dump: Path, output_fd: int) -> None:
        """See `port.Dumping`. Podman alone can: see `making.why_not_whole`."""
        self._bring_up(workload, output_fd, dump)

    def _bring_up(self, workload: Workload, output_fd: int, dump: Path | None) -> None:
        if workload.image is None:
            raise StartRefused("the job names no image")
        if os.geteuid() != 0 or not self._use_cgroups:
            raise StartRefused("containers need an agent that is root: it could not freeze or check them")
        if not seccomp.supported():
            raise StartRefused("there is no seccomp filter for this node's processor")
        try:
            self._client, engine = connect()
        except EngineUnavailable as error:
            raise StartRefused(str(error)) from error
        if engine.rootless:
            raise StartRefused("a rootless engine does not keep limits everywhere and is not used")
        import docker  # noqa: PLC0415
        import requests  # noqa: PLC0415

        self._placement, self._name = workload.name, container_name(workload.name)
        self._workload, self._engine = workload, engine
        try:
            image_id = self._prepare(self._client, engine, workload, output_fd)
            if dump is None:
                assert self._output is not None
                making.make(
                    self._client,
                    engine,
                    workload,
                    image_id=image_id,
                    uid=self._uid,
                    environment=job_environment(workload, self.paths(workload)),
                    folder=self._output.parent,
                )
                self._client.start(self._name)
                self._hold(self._client, engine, workload, image_id)
            else:
                self._bring_back(self._client, engine, workload, image_id, dump)
            self._tell("go")
        except (docker.errors.DockerException, requests.RequestException, libpod.Refused, OSError) as error:
            why = dumping.complaint(str(error)) if dump is not None else str(error)
            self._give_up()
            raise StartRefused(f"the container engine refused: {why}") from error
        except StartRefused:
            self._give_up()
            raise

    def _give_up(self) -> None:
        self.kill()
        self.clean_up()

    def _prepare(self, client: "APIClient", engine: Engine, workload: Workload, output_fd: int) -> str:
        """All that is there before the container: the image's id."""
        assert workload.image is not None
        image = inspect(client, workload.image)
        if image is None:
            raise StartRefused(f"the image {workload.image} is not on this node")
        if making.real_devices(workload) and not engine.gives_devices:
            raise StartRefused(f"{engine.kind} {engine.version} cannot give GPUs by their CDI names")
        if workload.whole and (why_not := making.why_not_whole(engine, workload)):
            raise StartRefused(f"the job cannot be saved whole in a container: {why_not}")
        self._path = making.path_of(image)
        self._uid = uid = job_uid(workload.owner or workload.name)
        give_to(workload.job_dir, uid)
        give_to(workload.control_dir, uid)
        folder = Path(tempfile.mkdtemp(prefix="gp4u-container-"))
        self._output = folder / "output"
        os.mkfifo(self._output, 0o600)
        os.chown(self._output, uid, uid)
        (folder / "seccomp.json").write_text(seccomp_profile.profile_json())
        (folder / "criu.conf").write_text(libpod.CRIU_SETTINGS)
        # The guard is there before there is anything to guard.
        self._guard = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.guard", workload.name, str(self._output)],
            stdin=subprocess.PIPE,
            stdout=output_fd,
            cwd="/",
            start_new_session=True,
        )
        return str(image["Id"])

    def _hold(self, client: "APIClient", engine: Engine, workload: Workload, image_id: str) -> None:
        """Find the container's first process and prove its isolation. Raises StartRefused."""
        self._pid = int(client.inspect_container(self._name)["State"]["Pid"])
        if self._pid <= 0:
            raise StartRefused(f"the container ended at once: {self._said(client)}")
        self._pidfd = os.pidfd_open(self._pid)
        first = processes.read_stat(self._pid)
        if first is None or first.state in "ZX":
            raise StartRefused(f"the container ended at once: {self._said(client)}")
        lid = libpod.lid_name(engine, workload.name) if workload.whole else ""
        self._groups = cgroups.of_process(self._pid, lid=lid)
        self._tell(json.dumps({"pid": self._pid, "ticks": first.started_ticks, "lid": lid}))
        lacking = hardening.shortcomings(self._pid, self._uid, workload, self._groups, process_of(engine.url))
        if "freeze" not in self._groups.purposes:
            lacking.append("it cannot be frozen")
        if workload.whole and self._groups.lid is None:
            lacking.append("it cannot be frozen from above its own control group")
        if lacking:
            raise StartRefused(f"the container is not isolated as it must be: {'; '.join(lacking)}")
        self._applied = {
            "user": "own user id",
            "engine": f"{engine.kind} {engine.version}",
            "image": image_id,
            "container.pid": str(self._pid),
            **{f"cgroup.{purpose}": value for purpose, value in self._groups.read_back().items()},
        }

    def _bring_back(
        self, client: "APIClient", engine: Engine, workload: Workload, image_id: str, dump: Path
    ) -> None:
        """See `port.Dumping.restore`. Podman leaves the tree standing by signals; it goes on only by `thaw`. Raises StartRefused."""
        assert self._output is not None
        if not workload.whole:
            raise StartRefused("only a job that is saved whole is brought back whole")
        before = read_record(dump)
        extract(workload, dump, self._uid)
        folder = self._output.parent
        place = dumping.Place(
            placement_label=hardening.labels(workload),
            sources=libpod.sources(workload, folder) | dumping.own_accounts(dump, folder),
            criu_config=folder / "criu.conf",
            seccomp=folder / "seccomp.json",
            parent=libpod.parent_group(engine, workload.name),
            image_id=image_id,
        )
        dumping.write_description(dump / IMAGE, folder, place)
        with dumping.archive(dump / IMAGE, folder) as archive:
            libpod.restore(client, self._name, archive)
        self._hold(client, engine, workload, image_id)
        changed = record.differences(before, dumping.record_now(self._pid, self._groups))
        changed += hardening.strange_folders(self._pid, libpod.sources(workload, folder))
        if changed:
            raise StartRefused(f"the restored job is not confined as it was: {'; '.join(changed)}")
        # From standing by signals to standing by the lid, like any job whose lease is not proven.
        deadline = time.monotonic() + _FREEZE_TIMEOUT_S
        while not self._groups.freeze():
            if time.monotonic() > deadline:
                raise StartRefused("the restored job cannot be frozen")
            time.sleep(_LOOK_AGAIN_S)
        processes.send(self._groups.pids(), signal.SIGCONT)

    def _said(self, client: "APIClient") -> str:
        state: dict[str, Any] = client.inspect_container(self._name)["State"]
        return str(state.get("Error") or f"exit code {state.get('ExitCode')}")

    def _tell(self, word: str) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):  # it died: `poll` sees to that
            self._guard.stdin.write(word.encode() + b"\n")
            self._guard.stdin.flush()

    # --- living -----------------------------------------------------------------------------------------

    def applied(self) -> dict[str, str]:
        """See `port.Runtime`."""
        return dict(self._applied)

    def exit_fd(self) -> int | None:
        """See `port.Runtime`."""
        return self._pidfd if self._pidfd >= 0 else None

    def poll(self) -> Exit | None:
        """See `port.Runtime`. None until the output was carried over, too: a job's last words come before its end."""
        if self._exit is not None or self._pidfd < 0:
            return self._exit
        assert self._guard is not None
        if self._guard_done_at is None:
            if self._guard.poll() is not None:  # without it nobody would end the container after us
                self.kill()
            if not select.select([self._pidfd], [], [], 0)[0]:
                return None
            self._tell("done")
            self._guard_done_at = time.monotonic()
        waited_s = time.monotonic() - self._guard_done_at
        if self._guard.poll() is None:
            if waited_s < _GUARD_DRAIN_S:
                return None
            self._guard.kill()
        self._exit = self._how_it_ended()
        if self._exit is None and waited_s > _ENGINE_SILENT_S:
            self._exit = Exit(None, int(signal.SIGKILL))  # it has ended, and nobody can say how
        return self._exit

    def _how_it_ended(self) -> Exit | None:
        import docker  # noqa: PLC0415
        import requests  # noqa: PLC0415

        assert self._client is not None
        try:
            state = self._client.inspect_container(self._name)["State"]
        except docker.errors.NotFound:
            return Exit(None, int(signal.SIGKILL))  # somebody removed it
        except (docker.errors.DockerException, requests.RequestException, OSError):
            return None
        if state.get("Running") or state.get("Status") in ("running", "paused", "stopping"):
            return None
        if state.get("OOMKilled"):
            self._out_of_memory_kills = max(1, self._out_of_memory_kills)
        code = int(state["ExitCode"])
        if code > 128 and code - 128 in signal.valid_signals():
            return Exit(None, code - 128)
        return Exit(code, None)

    def _tree(self) -> list[processes.Stat]:
        found = [processes.read_stat(pid) for pid in self._groups.pids()]
        return processes.exists([stat for stat in found if stat is not None])

    def pids(self) -> list[int]:
        """See `port.Runtime`. Without the container's first process, which is ours."""
        return [found.pid for found in self._tree() if found.pid != self._pid]

    def usage(self) -> Usage:
        """See `port.Runtime`."""
        used = trees.usage([found for found in self._tree() if found.pid != self._pid], self._groups)
        self._out_of_memory_kills = max(self._out_of_memory_kills, used.out_of_memory_kills)
        return Usage(used.cpu_seconds, used.memory_bytes, used.processes, self._out_of_memory_kills)

    def freeze(self) -> bool:
        """See `port.Runtime`."""
        if self._gone():
            return True
        return trees.freeze(self._tree, self._groups)

    def thaw(self) -> None:
        """See `port.Runtime`."""
        if not self._gone():
            trees.thaw(self._tree, self._groups)

    def terminate(self) -> None:
        """See `port.Runtime`."""
        processes.send(self.pids(), signal.SIGTERM)

    def kill(self) -> None:
        """See `port.Runtime`. The end of the container's first process is the end of all in it."""
        if self._dumping is not None:
            self._dumping[0].kill()
        kill_processes(self._pidfd, self._groups, within_s=_KILL_TIMEOUT_S)

    def _gone(self) -> bool:
        return self._pidfd >= 0 and bool(select.select([self._pidfd], [], [], 0)[0])

    # --- dumps ------------------------------------------------------------------------------------------

    def begin_dump(self, into: Path) -> None:
        """See `port.Dumping`."""
        assert self._workload is not None
        assert self._engine is not None
        assert self._dumping is None
        if why_not := making.why_not_whole(self._engine, self._workload):
            raise OSError(why_not)
        if not self._workload.whole:
            raise OSError("the container was not made to be dumped")
        empty(into)
        self._dumping = (
            subprocess.Popen(
                dumping.dumper_command(self._engine.url, self._name, into, self._workload),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                cwd="/",
                start_new_session=True,
                preexec_fn=processes.die_with_parent,
            ),
            into,
            time.monotonic(),
        )

    def poll_dump(self) -> DumpResult | None:
        """See `port.Dumping`."""
        if self._dumping is None:
            return DumpResult("no dump was begun")
        dumper, into, _ = self._dumping
        if self.poll() is not None:
            dumper.kill()
            return self._dumped("the job ended meanwhile")
        code = dumper.poll()
        if code is None:
            return None
        assert dumper.stdout is not None
        if code != 0:
            said = dumper.stdout.read().decode("utf-8", "replace").strip()
            return self._dumped(said or f"the dumper ended with {code}")
        try:
            write_record(into, dumping.record_now(self._pid, self._groups))
        except OSError as error:
            return self._dumped(str(error))
        return self._dumped("")

    def _dumped(self, why_not: str) -> DumpResult:
        """The tree goes on: it stood still by signal, whether its lease has frozen it or not."""
        assert self._dumping is not None
        dumper, _, began = self._dumping
        dumper.wait()
        assert dumper.stdout is not None
        dumper.stdout.close()
        self._dumping = None
        processes.send(self._groups.pids(), signal.SIGCONT)
        return DumpResult(why_not, time.monotonic() - began)

    def clean_up(self) -> None:
        """See `port.Runtime`."""
        if self._dumping is not None:
            self._dumped("it was ended")
        if self._guard is not None:
            self._tell("done")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(_KILL_TIMEOUT_S)
            self._guard.kill()
            self._guard.wait()
            assert self._guard.stdin is not None
            with contextlib.suppress(OSError):
                self._guard.stdin.close()
            self._guard = None
        if self._placement:
            end_container(self._placement, within_s=_CLEAN_UP_TIMEOUT_S)
        if self._output is not None:
            shutil.rmtree(self._output.parent, ignore_errors=True)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self._client is not None:
            self._client.close()
