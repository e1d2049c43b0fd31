"""The `bundle` runtime: runc runs the job, CRIU dumps it and brings it back. See the package."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from gp4u_agent.runtime import processes
from gp4u_agent.runtime.bundle import dumping, record, spec
from gp4u_agent.runtime.bundle.kept import RESTORE_TIMEOUT_S, KeptBundle
from gp4u_agent.runtime.bundle.programs import Missing, Program, criu, runc
from gp4u_agent.runtime.containers.hardening import shortcomings
from gp4u_agent.runtime.port import DumpResult, StartRefused, Workload


class Bundle(KeptBundle):
    """See `port.Runtime` and `port.Dumping`."""

    def __init__(self, *, use_cgroups: bool = True) -> None:
        super().__init__(use_cgroups=use_cgroups)
        self._dumping: tuple[str, Path, float] | None = None

    def _find(self) -> Program:
        return runc()

    def _command(self, *words: str) -> list[str]:
        assert self._program is not None
        return [
            self._program.path,
            "--root",
            str(self._state),
            "--log",
            str(self._folder / "runc.log"),
            *words,
        ]

    def _document(self, workload: Workload, cgroups_path: str) -> dict[str, Any]:
        settings = self._folder / "criu.conf"
        settings.write_text(dumping.CRIU_SETTINGS)
        self._path = self._path_with_criu()
        return spec.config(workload, cgroups_path=cgroups_path, criu_config=settings)

    def _shortcomings(self) -> list[str]:
        assert self._workload is not None
        uid = spec.host_uid(self._workload)
        lacking = shortcomings(self._pid, uid, self._workload, self._groups.inner, os.getpid())
        return lacking + [f"it shares the machine's {kind}" for kind in record.shared_namespaces(self._pid)]

    def _identity(self) -> dict[str, str]:
        assert self._program is not None
        return {"user": "user namespace", "engine": f"runc {self._program.version}"}

    def _why(self, command_id: str) -> str:
        logs = {"restore": "restore.log", "checkpoint": "dump.log", "run": "runc.log"}
        return dumping.last_error(self._folder, logs.get(command_id, ""))

    def _path_with_criu(self) -> str:
        """runc takes the first `criu` on its PATH."""
        with contextlib.suppress(Missing):
            programs = self._folder / "bin"
            programs.mkdir(mode=0o700)
            (programs / "criu").symlink_to(criu().path)
            return f"{programs}:{os.environ.get('PATH', os.defpath)}"
        return os.environ.get("PATH", os.defpath)

    # --- dumps ------------------------------------------------------------------------------------------

    def begin_dump(self, into: Path) -> None:
        """See `port.Dumping`."""
        assert self._workload is not None
        assert self._dumping is None
        dumping.empty(into)
        self._dumping = ("checkpoint", into, time.monotonic())
        self._run(
            "checkpoint",
            self._command(*dumping.checkpoint_words(self._workload.name, into, self._folder)),
        )

    def poll_dump(self) -> DumpResult | None:
        """See `port.Dumping`."""
        if self._dumping is None:
            return DumpResult("no dump was begun")
        step, into, began = self._dumping
        if self.poll() is not None:
            return self._dumped("the job ended meanwhile", began)
        code = self._told.pop(step, None)
        if code is None:
            return None
        if code != 0:
            return self._dumped(f"{step} answered {code}: {self._why(step)}", began)
        assert self._workload is not None
        archives = dumping.archive_commands(self._workload, into)
        following = ["checkpoint", *archives]
        if step != following[-1]:
            step = following[following.index(step) + 1]
            self._dumping = (step, into, began)
            self._run(step, archives[step])
            return None
        try:
            dumping.write_record(into, record.record_of(self._groups))
        except OSError as error:
            return self._dumped(str(error), began)
        return self._dumped("", began)

    def _dumped(self, why_not: str, began: float) -> DumpResult:
        """The tree goes on: it stood still by signal, whether its lease has frozen it or not."""
        self._dumping = None
        processes.send(self._groups.pids(), signal.SIGCONT)
        return DumpResult(why_not, time.monotonic() - began)

    def restore(self, workload: Workload, dump: Path, output_fd: int) -> None:
        """See `port.Dumping`."""
        try:
            before = dumping.read_record(dump)
            program = criu()
            self._prepare(workload, [output_fd])
            dumping.extract(workload, dump, spec.host_uid(workload))
            # CRIU looks for files in it as the job's root. Nobody else gets there: the folders above are closed.
            os.chmod(dump / dumping.IMAGE, 0o711)  # noqa: S103
            command = self._command(
                *dumping.restore_words(workload.name, self._folder, dump, self._folder / "pid")
            )
            self._bring_up("restore", command, None, output_fd, RESTORE_TIMEOUT_S)
            changed = record.differences(before, record.record_of(self._groups))
            if changed:
                raise StartRefused(f"the restored job is not confined as it was: {'; '.join(changed)}")
            self._applied["restored_by"] = f"criu {program.version}"
            # From standing by signals to standing by its control group, like any job whose lease is not proven.
            self._freeze_now()
            processes.send(self._groups.pids(), signal.SIGCONT)
        except (OSError, Missing, subprocess.SubprocessError) as error:
            self._give_up()
            raise StartRefused(f"the dump cannot be restored: {error}") from error
        except StartRefused:
            self._give_up()
            raise
