"""A peer and an agent that runs as a process of its own, as on a node."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.runtime import cgroups, processes, sandbox
from gp4u_protocol.messages import DesiredRun, PlacementSpec

from tests.integration.agent.peer import Peer, serve

PROBE = sandbox.probe()
NAMESPACES_WORK = (
    subprocess.run(
        [sandbox.bwrap_path() or "false", "--ro-bind", "/", "/", "--unshare-pid", "--", "/bin/true"],
        capture_output=True,
        check=False,
    ).returncode
    == 0
)
"""Whether this machine lets bubblewrap work at all. Where it does, a probe that fails is our bug and no reason to skip."""
SIMULATION = "devices:\n  - {model: RTX_4090, vram_gb: 24, count: 1}\n"
PROGRAM = str(Path(sys.executable).with_name("gp4u-agent"))


def spec(command: str, placement_id: str = "pl_1", epoch: int = 1, **fields: Any) -> PlacementSpec:
    """A placement that runs `command`."""
    return PlacementSpec(
        **{
            "placement_id": placement_id,
            "job_id": "job_1",
            "epoch": epoch,
            "desired": DesiredRun.RUN,
            "job_name": "test",
            "command": command,
            "device_uuids": [],
            "cpus": 1,
            "memory_mb": 256,
            "disk_mb": 64,
            "checkpoint_path": "ckpt",
            "checkpoint_every_s": 3600,
            "stop_grace_s": 5,
            **fields,
        }
    )


@dataclass
class AgentProcess:
    """`gp4u-agent run` in a folder of its own."""

    peer: Peer
    state: Path
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)

    async def join(self) -> "subprocess.CompletedProcess[str]":
        (self.state.parent / "spec.yaml").write_text(SIMULATION)
        return await asyncio.to_thread(
            self.command,
            "join",
            self.peer.url,
            "--token",
            self.peer.token,
            "--name",
            "test-node",
            "--state",
            str(self.state),
            "--simulate",
            str(self.state.parent / "spec.yaml"),
        )

    def start(self, **options: Any) -> None:
        with open(self.state.parent / "agent.log", "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "run", "--state", str(self.state), *self.arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                **options,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def folder(self, placement_id: str = "pl_1", epoch: int = 1) -> PlacementDir:
        return PlacementDir(self.state / "placements" / f"{placement_id}.{epoch}")

    def shim_pid(self, placement_id: str = "pl_1", epoch: int = 1) -> int:
        identity = self.folder(placement_id, epoch).read(self.folder(placement_id, epoch).shim_identity)
        assert identity is not None
        return int(identity["pid"])

    def log(self) -> str:
        return (self.state.parent / "agent.log").read_text()

    def clean_up(self) -> None:
        """End everything of this node, whatever the test left."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        folders = list((self.state / "placements").iterdir()) if (self.state / "placements").is_dir() else []
        for path in folders:
            folder = PlacementDir(path)
            if folder.shim_alive():
                os.kill(int((folder.read(folder.shim_identity) or {})["pid"]), signal.SIGKILL)
            groups = cgroups.find(path.name)
            groups.kill_all()
            processes.send(groups.pids(), signal.SIGKILL)
            if "freeze" in groups.purposes:
                groups.thaw()
            groups.remove()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serve(Peer()) as running:
        yield running


@pytest.fixture
def node_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gp4u-agent-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def node(peer: Peer, node_folder: Path) -> AsyncIterator[AgentProcess]:
    """A joined node whose agent runs."""
    if not NAMESPACES_WORK:
        pytest.skip(f"the sandbox does not work here: {PROBE.why_not}")
    agent = AgentProcess(peer, node_folder / "state")
    joined = await agent.join()
    assert joined.returncode == 0, joined.stderr
    agent.start()
    try:
        await peer.until(lambda: peer.sessions, "the agent connects")
        yield agent
    finally:
        agent.clean_up()


def poll(ask: Callable[[], Any], what: str, within_s: float = 15.0) -> Any:
    """The first truthy answer, for synchronous tests."""
    deadline = time.monotonic() + within_s
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.02)
    return answer


@contextlib.contextmanager
def paused(agent: AgentProcess) -> Iterator[None]:
    """The agent stands still, as under a debugger or a swap storm."""
    agent.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        agent.signal(signal.SIGCONT)
