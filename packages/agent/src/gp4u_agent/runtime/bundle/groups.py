"""The control groups of a bundle: an inner one that holds the job, and the placement's own above it, the *lid*.

CRIU freezes and thaws the inner group while it dumps. The lease's freeze is the lid's, which holds whatever becomes of the inner
one (both versions freeze what lies below), so a dump can never thaw a job whose lease is over.
"""

import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from gp4u_agent.runtime import cgroups, processes
from gp4u_agent.runtime.bundle.spec import GROUP
from gp4u_agent.runtime.cgroups import JobCgroups


@dataclass
class Groups:
    """`inner`: limits and membership. `lid`: freezing. `folders`: every folder of the inner group, managed by us or not."""

    inner: JobCgroups = field(default_factory=JobCgroups)
    folders: tuple[Path, ...] = ()

    @classmethod
    def of_process(cls, pid: int) -> "Groups":
        """The groups that runc put this process into. Raises OSError when it is gone."""
        return cls(cgroups.of_process(pid), tuple(cgroups.folders_of(pid)))

    @property
    def can_freeze(self) -> bool:
        """Whether there is a lid."""
        return "freeze" in self.inner.folders and self.inner.folders["freeze"].name == GROUP

    def pids(self) -> list[int]:
        """Processes in the group."""
        return self.inner.pids()

    def freeze(self) -> bool:
        """Ask for the freeze; True once everything stands still. Raises OSError when the group is gone."""
        folder = self.inner.folders["freeze"].parent
        if self.inner.versions["freeze"] == 2:
            (folder / "cgroup.freeze").write_text("1")
            return "frozen 1" in (folder / "cgroup.events").read_text()
        (folder / "freezer.state").write_text("FROZEN")
        return (folder / "freezer.state").read_text().strip() == "FROZEN"

    def thaw(self) -> None:
        """Let it go on. Raises OSError when the group is gone."""
        folder = self.inner.folders["freeze"].parent
        if self.inner.versions["freeze"] == 2:
            (folder / "cgroup.freeze").write_text("0")
        else:
            (folder / "freezer.state").write_text("THAWED")

    def kill(self, pidfd: int) -> None:
        """SIGKILL to everything; called again until nothing is left."""
        self.inner.kill_all()
        processes.send(self.pids(), signal.SIGKILL)
        if pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        with contextlib.suppress(OSError, KeyError):
            self.thaw()  # version 1 delivers the kill only now
        with contextlib.suppress(OSError, KeyError):
            self.inner.thaw()

    def remove(self) -> None:
        """Delete what is empty of both."""
        for folder in self.folders:
            for group in (folder, folder.parent):
                if folder.name == GROUP:
                    with contextlib.suppress(OSError):
                        os.rmdir(group)
