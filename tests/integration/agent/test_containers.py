"""Jobs with an image on a real node: its probe offers them, the lease holds for them, nothing of them outlives its shim."""

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from gp4u_agent.runtime import processes
from gp4u_agent.runtime.containers import images
from gp4u_agent.runtime.containers.adapter import Containers
from gp4u_agent.runtime.containers.engine import ENGINE_VARIABLE
from gp4u_agent.runtime.containers.leftovers import end_container
from gp4u_agent.runtime.containers.probe import probe
from gp4u_agent.runtime.port import StartRefused
from gp4u_protocol.messages import ActualState

from tests.integration.agent import engines
from tests.integration.agent.conftest import AgentProcess, node_of
from tests.integration.agent.peer import Peer
from tests.integration.agent.runtimes import running

BEATS = "echo ready; while :; do date +%s%N >> beats; sleep 0.02; done"


@pytest.fixture
def engine(engine_urls: dict[str, str]) -> Iterator[str]:
    """The address of an engine that can be started here (each of them is held to the contract elsewhere)."""
    url = engine_urls["podman"]
    if not url.startswith("unix://"):
        url = engine_urls["docker"]
    if not url.startswith("unix://"):
        pytest.skip(f"{engine_urls['podman']}; {url}")
    with engines.chosen(url):
        yield url


@pytest.fixture
async def container_node(
    engine: str, peer: Peer, node_folder: Path, joined: AgentProcess
) -> AsyncIterator[AgentProcess]:
    """A joined node with the engine in sight of its agent."""
    async with node_of(peer, node_folder, joined, {ENGINE_VARIABLE: engine}) as agent:
        yield agent
    end_container(f"{peer.first}.1", within_s=30)


async def runs(peer: Peer, node: AgentProcess, engine: str, command: str = BEATS) -> list[int]:
    """A job with an image runs: its processes."""
    await peer.want(peer.spec(command, image=engines.image(engine)))
    await peer.until(lambda: peer.report(peer.first, ActualState.RUNNING), "the job runs", within_s=90)
    await peer.until(lambda: "ready" in peer.log(peer.first), "it speaks")
    beats = node.folder().job / "beats"
    await peer.until(beats.exists, "it works")
    owner = beats.stat().st_uid
    return [
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and (found := stat_of(name)) is not None and found == owner
    ]


def stat_of(name: str) -> int | None:
    try:
        return os.stat(f"/proc/{name}").st_uid
    except OSError:
        return None


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if (found := processes.read_stat(pid)) and found.state not in "ZX"]


async def test_h2_a_container_lives_by_its_lease_and_dies_with_its_shim(
    peer: Peer, container_node: AgentProcess, engine: str
) -> None:
    pids = await runs(peer, container_node, engine)
    assert alive(pids)
    assert "containers" in peer.hellos[-1].facts.runtimes
    beats = container_node.folder().job / "beats"

    await peer.cut()
    await peer.until(lambda: time.time_ns() - beats.stat().st_mtime_ns > 1e9, "the container is frozen")
    assert alive(pids), "frozen, not dead"
    peer.closed = False
    await peer.until(lambda: time.time_ns() - beats.stat().st_mtime_ns < 0.3e9, "it goes on")

    os.kill(container_node.shim_pid(), signal.SIGKILL)
    report = await peer.until(
        lambda: peer.report(peer.first, ActualState.EXITED), "the end is told", within_s=60
    )
    assert report.reason == "shim_lost"
    assert alive(pids) == []


async def test_a_container_job_saves_stops_and_is_forgotten(
    peer: Peer, container_node: AgentProcess, engine: str
) -> None:
    command = (
        "trap 'echo state > $GP4U_CHECKPOINT_DIR/n; exit 0' TERM; mkdir -p $GP4U_CHECKPOINT_DIR; touch beats; "
        "echo ready; while :; do sleep 0.05; done"
    )
    await runs(peer, container_node, engine, command)
    await peer.stop(peer.first)
    report = await peer.until(lambda: peer.report(peer.first, ActualState.STOPPED), "it stops", within_s=60)
    assert report.exit_code == 0
    assert [row["trigger"] for row in peer.checkpoints] == ["final"]
    peer.desired.clear()
    await peer.tell_desired()
    await peer.until(lambda: not container_node.folder().path.exists(), "it is forgotten", within_s=60)


async def test_an_image_that_cannot_be_had_is_said_so(
    peer: Peer, container_node: AgentProcess, engine: str
) -> None:
    await peer.want(peer.spec("true", image=f"localhost:9/nothing@sha256:{'0' * 64}"))
    report = await peer.until(
        lambda: peer.report(peer.first, ActualState.START_FAILED), "it is refused", within_s=90
    )
    assert report.reason == "image_unavailable"
    assert "could not be pulled" in (report.detail or "")


async def test_a_node_without_an_engine_never_runs_an_image_in_something_weaker(
    peer: Peer, node: AgentProcess
) -> None:
    if "containers" in peer.hellos[-1].facts.runtimes:
        pytest.skip("this machine's own container engine is running")
    await peer.want(peer.spec("true", image=f"name@sha256:{'0' * 64}"))
    report = await peer.until(lambda: peer.report(peer.first, ActualState.START_FAILED), "it is refused")
    assert "with an image" in (report.detail or "")


def test_the_probe_proves_an_engine_by_running_one(engine: str) -> None:
    found = probe()
    assert found.works, found.why_not
    assert "seccomp" in found.proven


def test_the_probe_says_why_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ENGINE_VARIABLE, f"unix://{tmp_path}/none.sock")
    assert "does not answer" in probe().why_not
    monkeypatch.setenv(ENGINE_VARIABLE, "tcp://127.0.0.1:2375")
    assert "on this machine" in probe().why_not


def test_a_tag_is_not_a_digest(engine: str) -> None:
    with pytest.raises(images.ImageUnavailable, match="names no digest"):
        images.ensure("busybox:latest")
    images.ensure(engines.image(engine))


def test_an_image_that_is_not_here_is_refused_at_the_start(engine: str) -> None:
    with (
        pytest.raises(StartRefused, match="not on this node"),
        running(Containers(), "true", image=f"sha256:{'1' * 64}"),
    ):
        pass


def test_a_network_of_its_own_and_gone_with_it(engine: str) -> None:
    """Skipped where the engine cannot make networks (its firewall tools are missing)."""
    try:
        with running(
            Containers(), "cat /proc/net/dev; sleep 60", image=engines.image(engine), network=True
        ) as (
            runtime,
            _,
            fd,
        ):
            assert runtime.pids() is not None
            assert "eth0" in os.read(fd, 4096).decode()
    except StartRefused as refusal:
        pytest.skip(f"this engine makes no networks here: {refusal}")
