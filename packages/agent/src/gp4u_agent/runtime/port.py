"""What the shim asks of a runtime. Adapters: `sandbox` (bubblewrap), `containers` (Docker, Podman), `process` (plain processes)."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Limits:
    """Bounds of one job. All of them are read back after they were set."""

    memory_bytes: int
    disk_bytes: int
    cpus: int
    pids_max: int = 1024
    tmp_bytes: int = 256 << 20


@dataclass(frozen=True)
class Workload:
    """One job as a runtime starts it. Paths are the host's; what the job sees is said in `environment`."""

    name: str  # unique on this machine: names its cgroups
    command: str
    environment: dict[str, str]
    job_dir: Path
    control_dir: Path
    inside_dir: Path
    checkpoint_path: str
    limits: Limits
    network: bool
    devices: list[str] = field(default_factory=list)
    image: str | None = None  # by digest; for runtimes that run images
    owner: str = ""  # whose it is on every node it is moved to: the job's id
    whole: bool = False  # it will be dumped: it is made of nothing that cannot be brought back elsewhere

    def to_json(self) -> dict[str, Any]:
        """A plain dict; the inverse of `from_json`."""
        return {
            **asdict(self),
            "job_dir": str(self.job_dir),
            "control_dir": str(self.control_dir),
            "inside_dir": str(self.inside_dir),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Workload":
        """The inverse of `to_json`. Raises KeyError or TypeError for anything else."""
        fields = dict(document)
        for name in ("job_dir", "control_dir", "inside_dir"):
            fields[name] = Path(fields[name])
        fields["limits"] = Limits(**fields["limits"])
        return cls(**fields)


@dataclass(frozen=True)
class JobPaths:
    """Where the job finds things, in its own view of the file system."""

    job: str
    control: str
    inside: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """What a runtime proved on this machine by doing it."""

    works: bool
    proven: str  # "bubblewrap+seccomp+userns", shown to owner and renter
    why_not: str = ""
    weaker: tuple[
        str, ...
    ] = ()  # what is missing although it works: "memory limit by a watcher, not by cgroup"


@dataclass(frozen=True)
class Exit:
    """How the job's main process ended: exactly one of the two is set."""

    code: int | None
    signal: int | None


@dataclass(frozen=True)
class Usage:
    """What the job uses now, over all its processes."""

    cpu_seconds: float
    memory_bytes: int
    processes: int
    out_of_memory_kills: int = 0


@dataclass(frozen=True)
class DumpResult:
    """What came of a dump: `why_not` is empty when the folder holds all of it. The job goes on in both cases."""

    why_not: str
    stood_s: float = 0.0  # from the order until it went on


class StartRefused(Exception):
    """The runtime could not start the job; the message says why, for the renter."""


class Runtime(Protocol):
    """One job's life. Not thread-safe; lives in the shim's main thread, whose death takes the job with it."""

    def start(self, workload: Workload, output_fd: int) -> None:
        """Start the job with `output_fd` as its stdout and stderr. Raises StartRefused."""

    def paths(self, workload: Workload) -> JobPaths:
        """Where the job will find its folders."""

    def applied(self) -> dict[str, str]:
        """The isolation and limits as read back from the kernel: for the record and the tests."""

    def poll(self) -> Exit | None:
        """How the main process ended, once it has. Never blocks."""

    def exit_fd(self) -> int | None:
        """A descriptor that becomes readable when the main process ended, if there is one."""

    def pids(self) -> list[int]:
        """The job's living processes (host numbers)."""

    def usage(self) -> Usage:
        """What they use."""

    def freeze(self) -> bool:
        """Stop every process of the job; True once nothing of it can run. Called again until it says so."""

    def thaw(self) -> None:
        """Let them run on."""

    def terminate(self) -> None:
        """SIGTERM to every process of the job: please finish."""

    def kill(self) -> None:
        """End every process of the job, frozen ones too. Returns when none is left or after a short bound."""

    def clean_up(self) -> None:
        """Remove what `start` left on the machine (cgroups). The job has ended."""


@runtime_checkable
class Dumping(Protocol):
    """What a runtime can do beside `Runtime` when it takes whole jobs down to files, memory and all, and up again."""

    def begin_dump(self, into: Path) -> None:
        """Begin to write the job into the folder `into`, made anew. Returns at once. Raises OSError.

        The job stands meanwhile. `freeze`, `thaw` and `kill` hold their promises during a dump too.
        """

    def poll_dump(self) -> DumpResult | None:
        """What came of it, once it is done. Never blocks."""

    def restore(self, workload: Workload, dump: Path, output_fd: int) -> None:
        """In place of `start`: bring back what `begin_dump` wrote, here or on another node. Raises StartRefused.

        What lies in the job's folders is replaced. Afterwards the job is *frozen*, and was found to be confined as it was when it was
        dumped; `thaw` lets it go on.
        """
