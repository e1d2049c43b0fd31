"""Control groups of one job, version 2 where the controllers are there, version 1 where they are not.

Each *purpose* (freeze, memory, pids, cpu) takes the best hierarchy this process may write. Nothing is assumed: every
limit is read back, and a purpose that does not work is simply absent from `purposes`, so that its owner falls back.
"""

import contextlib
import errno
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from gp4u_agent.runtime import processes

_V1_CONTROLLERS = {"freeze": "freezer", "memory": "memory", "pids": "pids", "cpu": "cpu"}
_V2_CONTROLLERS = {"memory": "memory", "pids": "pids", "cpu": "cpu"}
# The file that carries each purpose, by the version of its hierarchy.
_FILES = {
    ("freeze", 2): "cgroup.freeze",
    ("freeze", 1): "freezer.state",
    ("memory", 2): "memory.max",
    ("memory", 1): "memory.limit_in_bytes",
    ("pids", 2): "pids.max",
    ("pids", 1): "pids.max",
    ("cpu", 2): "cpu.max",
    ("cpu", 1): "cpu.cfs_quota_us",
}
CPU_PERIOD_US = 100_000
_PARENT = "gp4u"


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy and where in it our groups go."""

    version: int
    base: Path
    purposes: frozenset[str]


@dataclass
class JobCgroups:
    """The groups of one job: purpose → its folder.

    Where CRIU dumps the job, it freezes and thaws the job's own group. `lid` is then a group above it that is ours alone: the
    lease's freeze is the lid's, so that no dump can thaw a job whose lease is over.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    lid: Path | None = None

    @property
    def purposes(self) -> frozenset[str]:
        return frozenset(self.folders)

    def enter(self) -> None:
        """Move the calling process into every group. For the child, between fork and exec."""
        for folder in dict.fromkeys(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self) -> list[int]:
        """Processes in the group, or none where there is no group."""
        folder = self.folders.get("freeze") or next(iter(self.folders.values()), None)
        if folder is None:
            return []
        try:
            return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def freeze(self) -> bool:
        """Ask for the freeze; True once the kernel says that everything in the group stands still."""
        folder = self.lid or self.folders["freeze"]
        if self.versions["freeze"] == 2:
            (folder / "cgroup.freeze").write_text("1")
            return _key(folder / "cgroup.events", "frozen") == 1 or not self.pids()
        (folder / "freezer.state").write_text("FROZEN")
        return (folder / "freezer.state").read_text().strip() == "FROZEN"

    def thaw(self) -> None:
        """Let it go on."""
        self._thaw(self.lid or self.folders["freeze"])

    def thaw_below_the_lid(self) -> None:
        """What CRIU froze, too: for a job that is to die in the middle of its dump."""
        if self.lid is not None:
            self._thaw(self.folders["freeze"])

    def _thaw(self, folder: Path) -> None:
        file, word = ("cgroup.freeze", "0") if self.versions["freeze"] == 2 else ("freezer.state", "THAWED")
        try:
            (folder / file).write_text(word)
        except OSError as error:
            # A group that somebody removed meanwhile holds nothing that could be frozen.
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def give_up(self, purpose: str) -> None:
        """The group of this purpose no longer works: do without it."""
        self.folders.pop(purpose, None)

    def kill_all(self) -> None:
        """SIGKILL to everything in the group at once, where the kernel can; frozen tasks of version 1 die at the thaw."""
        for purpose, folder in self.folders.items():
            if self.versions[purpose] == 2 and (folder / "cgroup.kill").exists():
                try:
                    (folder / "cgroup.kill").write_text("1")
                except OSError:
                    continue
                return

    def limit(self, *, memory_bytes: int, pids_max: int, cpus: int) -> dict[str, str]:
        """Set the limits of the purposes that are here, and what the kernel then says they are."""
        if "memory" in self.folders:
            folder = self.folders["memory"]
            if self.versions["memory"] == 2:
                _write(folder / "memory.max", memory_bytes)
                _write_if_there(folder / "memory.swap.max", 0)
                _write_if_there(folder / "memory.oom.group", 1)
            else:
                _write(folder / "memory.limit_in_bytes", memory_bytes)
                _write_if_there(folder / "memory.memsw.limit_in_bytes", memory_bytes)
        if "pids" in self.folders:
            _write(self.folders["pids"] / "pids.max", pids_max)
        if "cpu" in self.folders:
            folder = self.folders["cpu"]
            if self.versions["cpu"] == 2:
                (folder / "cpu.max").write_text(f"{cpus * CPU_PERIOD_US} {CPU_PERIOD_US}")
            else:
                _write(folder / "cpu.cfs_period_us", CPU_PERIOD_US)
                _write(folder / "cpu.cfs_quota_us", cpus * CPU_PERIOD_US)
        return self.read_back()

    def read_back(self) -> dict[str, str]:
        """The limits in force, by purpose."""
        return {
            purpose: (folder / _FILES[purpose, self.versions[purpose]]).read_text().strip()
            for purpose, folder in self.folders.items()
            if purpose != "freeze"
        }

    def memory_bytes(self) -> int | None:
        """Memory in use without the page cache that the kernel would give back; None without a memory group."""
        folder = self.folders.get("memory")
        if folder is None:
            return None
        total, cache = (
            ("memory.current", "inactive_file")
            if self.versions["memory"] == 2
            else ("memory.usage_in_bytes", "total_inactive_file")
        )
        try:
            return max(0, int((folder / total).read_text()) - _key(folder / "memory.stat", cache))
        except OSError:
            return None

    def out_of_memory_kills(self) -> int:
        """How often the kernel killed a process of the job for memory."""
        folder = self.folders.get("memory")
        if folder is None:
            return 0
        return _key(
            folder / ("memory.events" if self.versions["memory"] == 2 else "memory.oom_control"), "oom_kill"
        )

    def remove(self) -> None:
        """Delete the groups; they must be empty, which takes the kernel a moment after the last exit."""
        deadline = time.monotonic() + 2
        for folder in dict.fromkeys(self.folders.values()):
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.02)
        self.folders.clear()


def hierarchies() -> list[Hierarchy]:
    """What is mounted here, version 2 first."""
    own_paths: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            own_paths[name] = path
    found: list[Hierarchy] = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount_point, kind, options, *_ = line.split()
        mount = Path(mount_point.replace("\\040", " "))
        if kind == "cgroup2":
            # Limits can be set below a group only if it hands its controllers down, so the mount's root is tried first.
            for base in dict.fromkeys((mount, mount / own_paths.get("", "/").lstrip("/"))):
                if os.access(base, os.W_OK):
                    controllers = (base / "cgroup.controllers").read_text().split()
                    purposes = {p for p, c in _V2_CONTROLLERS.items() if c in controllers}
                    found.insert(0, Hierarchy(2, base, frozenset(purposes | {"freeze"})))
                    break
        elif kind == "cgroup":
            controllers = options.split(",")
            purposes = {p for p, c in _V1_CONTROLLERS.items() if c in controllers}
            own = next((own_paths[n] for n in controllers if n in own_paths), "/")
            base = mount / own.lstrip("/")
            base = base if base.is_dir() else mount
            if purposes and os.access(base, os.W_OK):
                found.append(Hierarchy(1, base, frozenset(purposes)))
    return found


def create(name: str, *, prefer_version: int | None = None) -> JobCgroups:
    """Groups called `name` for every purpose that works here; possibly none. Never raises for a missing right."""
    groups = JobCgroups()
    ordered = (
        sorted(hierarchies(), key=lambda h: h.version != prefer_version) if prefer_version else hierarchies()
    )
    for hierarchy in ordered:
        wanted = hierarchy.purposes - groups.purposes
        if not wanted:
            continue
        parent = hierarchy.base / _PARENT
        folder = parent / name
        try:
            parent.mkdir(exist_ok=True)
            if hierarchy.version == 2:
                for purpose in wanted & _V2_CONTROLLERS.keys():
                    for group in (hierarchy.base, parent):
                        (group / "cgroup.subtree_control").write_text(f"+{_V2_CONTROLLERS[purpose]}")
            folder.mkdir(exist_ok=True)
        except OSError:
            wanted = wanted & {"freeze"} if folder.is_dir() else frozenset()
        for purpose in wanted:
            if _usable(folder, purpose, hierarchy.version):
                groups.folders[purpose] = folder
                groups.versions[purpose] = hierarchy.version
        if folder not in groups.folders.values() and folder.is_dir():
            folder.rmdir()
    return groups


def find(name: str) -> JobCgroups:
    """The groups that an earlier process made under this name."""
    groups = JobCgroups()
    for hierarchy in hierarchies():
        folder = hierarchy.base / _PARENT / name
        for purpose in hierarchy.purposes - groups.purposes:
            if folder.is_dir() and _usable(folder, purpose, hierarchy.version):
                groups.folders[purpose] = folder
                groups.versions[purpose] = hierarchy.version
    return groups


def of_process(pid: int, *, lid: str = "") -> JobCgroups:
    """The groups that another program (a container engine) put this process into.

    Groups that we are in ourselves, or that everybody is in, are left out: freezing them would freeze us. `lid`: the name of the
    group above the job's that shall be its lid, if it is there. Raises OSError when the process is gone.
    """
    theirs, ours = _paths(str(pid)), _paths("self")
    groups = JobCgroups()
    for mount, version, names in _mounts():
        own = next((name for name in names if name in theirs), None)
        if own is None or theirs[own] in ("/", ours.get(own)):
            continue
        folder = mount / theirs[own].lstrip("/")
        known = (
            {p for p, c in _V1_CONTROLLERS.items() if c in names} if version == 1 else _purposes_of(folder)
        )
        for purpose in known - groups.purposes:
            if _usable(folder, purpose, version):
                groups.folders[purpose] = folder
                groups.versions[purpose] = version
    if lid and "freeze" in groups.folders:
        groups.lid = next((above for above in groups.folders["freeze"].parents if above.name == lid), None)
    return groups


def parent_path(name: str) -> str:
    """Below every hierarchy's mount: where a container engine shall put the groups of this job, so that their parent is its lid."""
    return f"/{_PARENT}/{name}"


def kill_below(name: str) -> None:
    """End what lies below `parent_path`, frozen or not: killed before it is thawed, so that nothing of it runs again."""
    for mount, version, _ in _mounts():
        lid = Path(f"{mount}{parent_path(name)}")
        groups = [*lid.rglob("cgroup.procs")] if lid.is_dir() else []
        for listed in groups:
            with contextlib.suppress(OSError):
                processes.send([int(pid) for pid in listed.read_text().split()], signal.SIGKILL)
        for folder in [lid, *(listed.parent for listed in groups)]:
            freezer, thawed = (
                (folder / "cgroup.freeze", "0") if version == 2 else (folder / "freezer.state", "THAWED")
            )
            with contextlib.suppress(OSError):
                if freezer.exists():
                    freezer.write_text(thawed)


def remove_parents(name: str) -> None:
    """Delete what an engine made for `parent_path` and leaves behind; only where it is empty."""
    for mount, _, _ in _mounts():
        with contextlib.suppress(OSError):
            os.rmdir(f"{mount}{parent_path(name)}")


def version_1_is_mounted() -> bool:
    """Whether limits are (also) kept by version 1 here."""
    return any(version == 1 for _, version, _ in _mounts())


def folders_of(pid: int) -> list[Path]:
    """Every group that this process is in, those that carry no purpose of ours too. Raises OSError when it is gone."""
    theirs = _paths(str(pid))
    found = []
    for mount, _, names in _mounts():
        own = next((theirs[name] for name in names if name in theirs), "/")
        if own != "/":
            found.append(mount / own.lstrip("/"))
    return found


def _purposes_of(folder: Path) -> set[str]:
    try:
        controllers = (folder / "cgroup.controllers").read_text().split()
    except OSError:
        return set()
    return {p for p, c in _V2_CONTROLLERS.items() if c in controllers} | {"freeze"}


def _paths(pid: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = path
    return found


def _mounts() -> list[tuple[Path, int, list[str]]]:
    """(where, version, names as in /proc/self/cgroup) of each hierarchy, version 2 first."""
    found: list[tuple[Path, int, list[str]]] = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount_point, kind, options, *_ = line.split()
        mount = Path(mount_point.replace("\\040", " "))
        if kind == "cgroup2":
            found.insert(0, (mount, 2, [""]))
        elif kind == "cgroup":
            found.append((mount, 1, options.split(",")))
    return found


def _usable(folder: Path, purpose: str, version: int) -> bool:
    return os.access(folder / _FILES[purpose, version], os.W_OK)


def _key(file: Path, name: str) -> int:
    try:
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        return 0
    return 0


def _write(file: Path, value: int) -> None:
    file.write_text(str(value))


def _write_if_there(file: Path, value: int) -> None:
    if file.exists():
        try:
            _write(file, value)
        except OSError:
            return
