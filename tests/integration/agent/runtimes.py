"""Runtimes under test: the adapters, why one cannot run here, and a job under one of them."""

import contextlib
import os
import secrets
import select
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gp4u_agent.runtime.bundle.adapter import Bundle
from gp4u_agent.runtime.containers.adapter import Containers
from gp4u_agent.runtime.gvisor.adapter import Gvisor
from gp4u_agent.runtime.port import Limits, Runtime, Workload
from gp4u_agent.runtime.process import PlainProcesses
from gp4u_agent.runtime.sandbox import Sandbox

from tests.integration.agent import engines, escapes

LIMITS = Limits(memory_bytes=256 << 20, disk_bytes=64 << 20, cpus=1, pids_max=100, tmp_bytes=16 << 20)
SETTINGS: dict[str, Callable[[], Runtime]] = {
    "cgroup 2": lambda: Sandbox(prefer_cgroup_version=2),
    "cgroup 1": lambda: Sandbox(prefer_cgroup_version=1),
    "signals": lambda: Sandbox(use_cgroups=False),
    "plain processes": lambda: PlainProcesses(),
    "plain processes, signals": lambda: PlainProcesses(use_cgroups=False),
    "bundle": lambda: Bundle(),
    "gvisor": lambda: Gvisor(),
    "podman": lambda: Containers(),
    "docker": lambda: Containers(),
}
ENGINES = frozenset({"podman", "docker"})
ISOLATED = ["cgroup 2", "bundle", "gvisor", "podman", "docker"]


@dataclass(frozen=True)
class Adapter:
    """One way to run a job."""

    kind: str
    make: Callable[[], Runtime]
    image: str | None = None

    @property
    def patience(self) -> float:
        """An engine takes seconds where bubblewrap takes a hundredth."""
        return 60.0 if self.image else 20.0


@contextlib.contextmanager
def adapter(kind: str, engine_url: str | None) -> Iterator[Adapter]:
    """The adapter, its engine chosen."""
    if engine_url is None:
        yield Adapter(kind, SETTINGS[kind])
        return
    with engines.chosen(engine_url):
        yield Adapter(kind, SETTINGS[kind], engines.image(engine_url))


@contextlib.contextmanager
def running(
    runtime: Runtime,
    command: str,
    environment: dict[str, str] | None = None,
    limits: Limits = LIMITS,
    name: str = "",
    folder: Path | None = None,
    image: str | None = None,
    network: bool = False,
) -> Iterator[tuple[Runtime, Path, int]]:
    """The command under this runtime: (runtime, job folder, descriptor of its output)."""
    folder = folder or Path(tempfile.mkdtemp(prefix="gp4u-sandbox-test-"))
    for part in ("job", "control", "inside"):
        (folder / part).mkdir()
    shutil.copy(Path(escapes.__file__), folder / "job" / "escapes.py")
    workload = Workload(
        name=name or f"test-{secrets.token_hex(4)}",
        command=command,
        environment=environment or {},
        job_dir=folder / "job",
        control_dir=folder / "control",
        inside_dir=folder / "inside",
        checkpoint_path="ckpt",
        limits=limits,
        network=network,
        image=image,
    )
    read_end, write_end = os.pipe()
    try:
        try:
            runtime.start(workload, write_end)
        finally:
            os.close(write_end)
        yield runtime, folder / "job", read_end
    finally:
        runtime.kill()
        runtime.clean_up()
        os.close(read_end)
        shutil.rmtree(folder)


def output(runtime: Runtime, fd: int, within_s: float = 60.0) -> str:
    """Everything that the job wrote, once it has ended."""
    text = b""
    deadline = time.monotonic() + within_s
    ended = False
    while time.monotonic() < deadline:
        while select.select([fd], [], [], 0.02)[0] and (piece := os.read(fd, 1 << 16)):
            text += piece
        if ended:
            return text.decode()
        ended = runtime.poll() is not None
    raise AssertionError(f"no end of the output: {text!r}")
