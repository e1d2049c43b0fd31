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
from gp4u_agent.job_process import end_leftovers, end_shim
from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.runtime import cgroups, sandbox

from tests.integration.agent import engines
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


_LIFELINE, _OUR_END = os.pipe()
"""Whatever ends this test run, agents, shims and jobs notice that our end is closed, and go too."""


@dataclass
class AgentProcess:
    """`gp4u-agent run` in a folder of its own."""

    peer: Peer
    state: Path
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    lifeline: int = _LIFELINE

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)

    async def join(self) -> "subprocess.CompletedProcess[str]":
        simulation = self.state.parent / "spec.yaml"
        simulation.write_text(SIMULATION)
        return await asyncio.to_thread(
            self.command,
            *("join", self.peer.url, "--token", self.peer.token, "--name", "test-node"),
            *("--state", str(self.state), "--simulate", str(simulation)),
        )

    def start(self) -> None:
        with open(self.state.parent / "agent.log", "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "run", "--state", str(self.state), *self.arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment, "GP4U_LIFELINE_FD": str(self.lifeline)},
                pass_fds=(self.lifeline,),
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def folder(self) -> PlacementDir:
        """Of the test's first placement."""
        return PlacementDir(self.state / "placements" / f"{self.peer.first}.1")

    def shim_pid(self) -> int:
        identity = self.folder().read(self.folder().shim_identity)
        assert identity is not None
        return int(identity["pid"])

    def log(self) -> str:
        return (self.state.parent / "agent.log").read_text()

    def clean_up(self) -> None:
        """End everything of this node, whatever the test left."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        placements = self.state / "placements"
        for path in list(placements.iterdir()) if placements.is_dir() else []:
            end_shim(PlacementDir(path))
        for hierarchy in cgroups.hierarchies():
            for left in (hierarchy.base / "gp4u").glob(f"pl_{self.peer.name}_*"):
                end_leftovers(left.name)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serve(Peer()) as running:
        yield running


@pytest.fixture
def node_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gp4u-agent-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def joined() -> AsyncIterator[AgentProcess]:
    """A node that joined. Its peer is gone; the tests' own peers take its place."""
    if not NAMESPACES_WORK:
        pytest.skip(f"the sandbox does not work here: {PROBE.why_not}")
    with tempfile.TemporaryDirectory(prefix="gp4u-agent-test-") as folder:
        async with serve(Peer()) as peer:
            agent = AgentProcess(peer, Path(folder, "state"))
            done = await agent.join()
            assert done.returncode == 0, done.stderr
        yield agent


@contextlib.asynccontextmanager
async def node_of(
    peer: Peer, folder: Path, joined: AgentProcess, environment: dict[str, str] | None = None
) -> AsyncIterator[AgentProcess]:
    """A joined node whose agent runs, in `folder`."""
    shutil.copytree(joined.state.parent, folder, dirs_exist_ok=True)
    agent = AgentProcess(peer, folder / "state", environment=environment or {})
    membership = agent.state / "node.json"
    said = membership.read_text()
    said = said.replace(f":{joined.peer.port}", f":{peer.port}")
    membership.write_text(said.replace(str(joined.state.parent), str(folder)))
    peer.token, peer.public_key = "used", joined.peer.public_key
    try:
        agent.start()
        await peer.until(lambda: peer.sessions, "the agent connects", within_s=90)
        yield agent
    finally:
        agent.clean_up()


@pytest.fixture
async def node(peer: Peer, node_folder: Path, joined: AgentProcess) -> AsyncIterator[AgentProcess]:
    """A joined node whose agent runs."""
    async with node_of(peer, node_folder, joined) as agent:
        yield agent


@pytest.fixture(scope="session")
def engine_urls() -> Iterator[dict[str, str]]:
    """Engines by kind, or why there is none, started when first asked for."""
    with contextlib.ExitStack() as stack:
        yield Engines(stack)


class Engines(dict[str, str]):
    """Starts each engine once."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def __missing__(self, kind: str) -> str:
        try:
            self[kind] = self._stack.enter_context(engines.started(kind))
        except engines.NoEngine as error:
            self[kind] = f"no {kind} here: {error}"
        return self[kind]


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
