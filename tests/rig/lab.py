"""Three hosts on one machine: a network namespace each, and a switch between them whose links break on command.

    with Lab(folder) as lab:
        server = lab.start("a", "server", [sys.executable, "-m", "http.server", "--bind", lab.address("a")])
        lab.cut("b", "a")                    # both ways
        lab.cut("b", "a", both=False)        # a no longer hears b
        lab.link("b", "a", delay_s=0.3, loss=0.05)
        lab.heal()
        with lab.inside("b"):                # this thread's new sockets belong to host b
            urllib.request.urlopen(...)

Whatever is started here ends with us: processes die with the thread that started them, and what detaches itself (the shims
of an agent) holds the read end of `lifeline`. A rig that was killed leaves its namespaces behind; the next one removes
them with everything in them, by our own prefix and only when their rig is gone.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from gp4u_server.embedded.program import Program, popen_arguments, stop

from tests.rig.slow_disk import BLKIO
from tests.rig.switch import enter_namespace

PREFIX = "gp4u-rig"
SUBNET = "10.88.0"
REPOSITORY = Path(__file__).parent.parent.parent
STOP_TIMEOUT_S = 20.0
_LABS = itertools.count(1)
"""Labs of one process, which may stand side by side."""


class LabUnavailable(Exception):
    """This machine cannot hold a lab; the message says why."""


def why_not() -> str | None:
    """The reason why there can be no lab here; None when there can."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "the program ip is missing (apt install iproute2)"
    name = f"{PREFIX}-{_owner()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun cannot be opened: {error.strerror}"
    return None


@dataclass
class Running:
    """A process on a host. Its output goes into `log`."""

    host: str
    program: Program
    log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def tree(self) -> list[psutil.Process]:
        """It and everything below it, top down."""
        with suppress(psutil.Error):
            top = psutil.Process(self.pid)
            return [top, *top.children(recursive=True)]
        return []

    def kill(self) -> None:
        """kill -9 of it and everything below it."""
        for process in self.tree():
            with suppress(psutil.Error):
                process.kill()
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP to it and everything below it."""
        for process in self.tree():
            with suppress(psutil.Error):
                process.suspend()

    def resume(self) -> None:
        """SIGCONT."""
        for process in self.tree():
            with suppress(psutil.Error):
                process.resume()

    def stop(self) -> None:
        """Ask it to end, and kill it when it does not."""
        self.resume()
        stop(self.process, self.program.stop_signal, STOP_TIMEOUT_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


@dataclass
class Lab:
    """See the module. `hosts` are single words; the first is at SUBNET.1."""

    folder: Path
    hosts: Sequence[str] = ("a", "b", "c")
    seed: int = 1
    running: list[Running] = field(default_factory=list)
    lifeline: int = -1

    def __enter__(self) -> "Lab":
        reason = why_not()
        if reason is not None:
            raise LabUnavailable(reason)
        remove_left_overs()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lifeline_write >= 0:
            os.close(self._lifeline_write)
            os.close(self.lifeline)
            self._lifeline_write = self.lifeline = -1
        for each in reversed(self.running):
            each.resume()
            each.kill()
        self.running.clear()
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()
        for host in self.hosts:
            _remove_namespace(self.namespace(host))

    def __post_init__(self) -> None:
        self._number = next(_LABS)
        self._switch: subprocess.Popen[bytes] | None = None
        self._lifeline_write = -1

    # --- hosts ----------------------------------------------------------------------------------------------

    def address(self, host: str) -> str:
        """A host's IPv4 address."""
        return f"{SUBNET}.{self.hosts.index(host) + 1}"

    def namespace(self, host: str) -> str:
        """The name of a host's network namespace."""
        return f"{PREFIX}-{_owner()}-{self._number}-{host}"

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """In the block this thread is on a host: its new sockets and processes belong there, for their whole life."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            theirs = os.open(f"/run/netns/{self.namespace(host)}", os.O_RDONLY)
            try:
                enter_namespace(theirs)
            finally:
                os.close(theirs)
            yield
        finally:
            enter_namespace(own)
            os.close(own)

    def start(
        self,
        host: str,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Running:
        """Start a program on a host; call it from the main thread, with which it dies. `environment` is all it sees."""
        return self.run_program(
            host, Program(name, list(argv), cwd or self.folder, environment or dict(os.environ))
        )

    def run_program(self, host: str, program: Program) -> Running:
        """The same, for a `Program` of the product (another user, another stop signal)."""
        log = self.folder / "logs" / f"{program.name.replace(' ', '-')}.log"
        log.parent.mkdir(exist_ok=True)
        with self.inside(host), log.open("ab") as output:
            process = subprocess.Popen(list(program.argv), stdout=output, **popen_arguments(program))
        running = Running(host, program, log, process)
        self.running = [each for each in self.running if each.alive] + [running]
        return running

    def pids(self, host: str) -> list[int]:
        """Every process on a host."""
        return _pids(self.namespace(host))

    # --- links ----------------------------------------------------------------------------------------------

    def link(self, source: str, target: str, *, both: bool = True, **rule: Any) -> None:
        """Change what a link does to packets; see `switch.Rule` for the names. A new rule replaces the one before."""
        self._command({"link": [source, target], **rule})
        if both:
            self._command({"link": [target, source], **rule})

    def cut(self, source: str, target: str, *, both: bool = True, port: int | None = None) -> None:
        """Nothing passes any more, or nothing of one TCP port. Not `both`: only what `source` sends is lost."""
        self.link(source, target, both=both, up=False, port=port)

    def isolate(self, host: str) -> None:
        """Cut a host from all others."""
        for other in self.hosts:
            if other != host:
                self.cut(host, other)

    def join(self, source: str, target: str) -> None:
        """Make one link whole again, both ways."""
        for port in (None, *self._ports):
            self.link(source, target, up=True, port=port)

    def heal(self) -> None:
        """Make every link whole again."""
        self._command({"heal": True})

    def statistics(self) -> dict[str, int]:
        """Frames passed and dropped so far."""
        return self._command({"statistics": True})

    # --- building -------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self._ports: set[int] = set()
        macs = {host: f"02:67:70:34:75:{number:02x}" for number, host in enumerate(self.hosts, 1)}
        for host in self.hosts:
            _ip("netns", "add", self.namespace(host))
        program = Program(
            "switch",
            [
                sys.executable,
                "-m",
                "tests.rig.switch",
                "--seed",
                str(self.seed),
                *(f"{host}=/run/netns/{self.namespace(host)}={mac}" for host, mac in macs.items()),
            ],
            REPOSITORY,
            dict(os.environ),
            death_signal=signal.SIGKILL,
        )
        log = self.folder / "logs" / "switch.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as errors:
            self._switch = subprocess.Popen(
                list(program.argv),
                **{
                    **popen_arguments(program),
                    "stdin": subprocess.PIPE,
                    "stdout": subprocess.PIPE,
                    "stderr": errors,
                },
            )
        self._answer()
        for host, mac in macs.items():
            namespace = self.namespace(host)
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("-n", namespace, "link", "set", "eth0", "address", mac)
            _ip("-n", namespace, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
        for host in self.hosts:
            for other, mac in macs.items():
                if other != host:
                    entry = [self.address(other), "lladdr", mac, "dev", "eth0", "nud", "permanent"]
                    _ip("-n", self.namespace(host), "neighbour", "replace", *entry)
        self.lifeline, self._lifeline_write = os.pipe()

    def _command(self, command: dict[str, Any]) -> dict[str, int]:
        assert self._switch is not None
        assert self._switch.stdin is not None
        if command.get("port") is not None:
            self._ports.add(int(command["port"]))
        self._switch.stdin.write(json.dumps(command).encode() + b"\n")
        self._switch.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, int]:
        assert self._switch is not None
        assert self._switch.stdout is not None
        line = self._switch.stdout.readline()
        if not line:
            raise LabUnavailable((self.folder / "logs" / "switch.log").read_text()[-2000:])
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer


# --- what a killed rig left ---------------------------------------------------------------------------------


def remove_left_overs() -> None:
    """Remove namespaces, their processes, mounts and folders of rigs that are gone."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        name = line.split(" ")[0]
        if name.startswith(f"{PREFIX}-") and _is_gone(name):
            _remove_namespace(name)
    temporary = Path(tempfile.gettempdir())
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        mount = line.split(" ")[1]
        if mount.startswith(f"{temporary}/{PREFIX}-") and _is_gone(
            Path(mount).relative_to(temporary).parts[0]
        ):
            subprocess.run(["umount", "--lazy", mount], check=False)
    for folder in temporary.glob(f"{PREFIX}-*"):
        if _is_gone(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
    for group in BLKIO.glob(f"{PREFIX}-*"):  # of slow disks; their processes died with their namespace
        if _is_gone(group.name):
            with suppress(OSError):
                group.rmdir()


def make_folder() -> Path:
    """A folder for this rig, below the machine's temporary one; removed at the next start when we are killed."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{_owner()}-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user
    return folder


def _owner() -> str:
    """Who we are, so that a recycled process id is not taken for us."""
    return f"{os.getpid()}-{_started_ticks(os.getpid())}"


def _is_gone(name: str) -> bool:
    pid, ticks = name.removeprefix(f"{PREFIX}-").split("-")[:2]
    return _started_ticks(int(pid)) != int(ticks)


def _started_ticks(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return -1


def _pids(namespace: str) -> list[int]:
    done = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return [int(pid) for pid in done.stdout.split()]


def _remove_namespace(name: str) -> None:
    deadline = time.monotonic() + 10
    while (pids := _pids(name)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabUnavailable(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
