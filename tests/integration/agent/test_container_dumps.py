"""Containers dumped whole by Podman and CRIU, ended, and brought back under another name, for real where both are here."""

import contextlib
import os
import secrets
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gp4u_agent.runtime import processes
from gp4u_agent.runtime.bundle import dumping as folders
from gp4u_agent.runtime.bundle.programs import Missing, criu
from gp4u_agent.runtime.containers.adapter import Containers
from gp4u_agent.runtime.containers.engine import ENGINE_VARIABLE
from gp4u_agent.runtime.port import StartRefused, Workload
from gp4u_protocol.messages import ActualState

from tests.integration.agent import engines
from tests.integration.agent.conftest import AgentProcess, node_of, poll
from tests.integration.agent.peer import Peer, serve
from tests.integration.agent.runtimes import LIMITS

COUNTER = """i=0; exec 3> /dev/shm/open
while :; do i=$((i+1)); echo $i >&3; echo $i >> /job/all; echo step $i; sleep 0.02; done"""
"""Its only state is in memory, in a file system in memory, and in an open descriptor."""


@pytest.fixture(scope="module")
def image(engine_urls: dict[str, str]) -> Iterator[str]:
    url = engine_urls["podman"]
    if not url.startswith("unix://"):
        pytest.skip(url)
    try:
        criu()
    except Missing as error:
        pytest.skip(f"no dumps here: {error}")
    if engines.without_sys_resource() and not engines.can_stand_for_sys_resource():
        pytest.skip("no dumps of containers here: root lacks CAP_SYS_RESOURCE, and there is no compiler")
    with engines.chosen(url):
        yield engines.image(url)


class Place:
    """A folder as of one placement of one job."""

    def __init__(self, folder: Path, image: str, **differing: object) -> None:
        for name in ("job", "control", "inside"):
            (folder / name).mkdir(parents=True)
        self.runtime = Containers()
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self.said = ""
        fields = {
            "name": f"test-{secrets.token_hex(4)}",
            "owner": "job_of_this_test",
            "command": COUNTER,
            "environment": {},
            "job_dir": folder / "job",
            "control_dir": folder / "control",
            "inside_dir": folder / "inside",
            "checkpoint_path": "ckpt",
            "limits": LIMITS,
            "network": False,
            "image": image,
            "whole": True,
        }
        self.workload = Workload(**{**fields, **differing})  # type: ignore[arg-type]

    def steps(self) -> list[int]:
        while select.select([self.read_end], [], [], 0)[0] and (piece := os.read(self.read_end, 1 << 16)):
            self.said += piece.decode()
        whole = self.said[: self.said.rfind("\n") + 1]
        return [int(line.split()[1]) for line in whole.splitlines() if line.startswith("step ")]

    def counts_on(self, by: int = 4) -> None:
        begin = len(self.steps())
        poll(lambda: len(self.steps()) >= begin + by, "it counts", 60.0)

    def dump(self, into: Path) -> None:
        self.runtime.begin_dump(into)
        result = poll(self.runtime.poll_dump, "the dump is done", 120.0)
        assert result.why_not == ""


@contextlib.contextmanager
def place(folder: Path, image: str, **differing: object) -> Iterator[Place]:
    made = Place(folder, image, **differing)
    try:
        yield made
    finally:
        made.runtime.kill()
        made.runtime.clean_up()
        os.close(made.read_end)
        os.close(made.write_end)


def test_a_container_goes_on_from_its_memory_and_again_from_that(tmp_path: Path, image: str) -> None:
    """Twice, because what was restored must be as good a start as what was started. A lease that ends in a dump holds, too."""
    with place(tmp_path / "first", image) as first:
        first.runtime.start(first.workload, first.write_end)
        first.counts_on()
        first.runtime.begin_dump(tmp_path / "dump")
        poll(first.runtime.freeze, "it is frozen while it is dumped", 60.0)
        before, until = first.steps(), time.monotonic() + 0.5
        ended = None
        while time.monotonic() < until:
            ended = ended or first.runtime.poll_dump()
            time.sleep(0.02)
        assert first.steps() == before
        first.runtime.thaw()
        ended = ended or poll(first.runtime.poll_dump, "the dump is done", 120.0)
        assert ended.why_not == ""
        first.counts_on()
        at_dump = first.steps()[-1]
    for name in ("second", "third"):
        with place(tmp_path / name, image) as there:
            there.runtime.restore(there.workload, tmp_path / "dump", there.write_end)
            said = there.steps()
            time.sleep(0.2)
            assert there.steps() == said, "it ran before its shim let it"
            last = int((tmp_path / name / "job" / "all").read_text().split()[-1])
            assert 0 < last <= at_dump, "its files are of the dump's instant"
            there.runtime.thaw()
            there.counts_on()
            there.dump(tmp_path / "dump")
            there.counts_on(1)
            steps = there.steps()
            at_dump = steps[-1]
            lid = there.runtime._groups.lid
        assert steps == list(range(steps[0], steps[0] + len(steps)))
        assert last - 1 <= steps[0] <= last + 1, "memory and files are of one instant"
        assert lid is not None
        assert not lid.exists(), "its control groups are gone with it"


def test_what_is_not_confined_as_before_or_cannot_be_dumped_is_refused(tmp_path: Path, image: str) -> None:
    """A record that differs kills; a container with a network, or one that was not made for it, is told at once."""
    with place(tmp_path / "first", image) as first:
        first.runtime.start(first.workload, first.write_end)
        first.counts_on(1)
        first.dump(tmp_path / "dump")
    before = folders.read_record(tmp_path / "dump")
    root = next(mount for mount in before["mounts"] if mount.startswith("/ "))
    assert " ro " in root.replace(",ro", " ro"), before["mounts"]
    before["mounts"][before["mounts"].index(root)] = root.replace("ro ", "rw ")
    folders.write_record(tmp_path / "dump", before)
    with place(tmp_path / "second", image) as second:
        with pytest.raises(StartRefused, match="not confined as it was: mounts"):
            second.runtime.restore(second.workload, tmp_path / "dump", second.write_end)
        poll(lambda: not processes.exists(second.runtime._tree()), "nothing of it is left")
        assert second.steps() == []
    with (
        place(tmp_path / "third", image, network=True) as third,
        pytest.raises(StartRefused, match="open connections"),
    ):
        third.runtime.start(third.workload, third.write_end)
    with place(tmp_path / "fourth", image, whole=False) as fourth:
        fourth.runtime.start(fourth.workload, fourth.write_end)
        with pytest.raises(OSError, match="not made to be dumped"):
            fourth.runtime.begin_dump(tmp_path / "dump")


async def test_a_job_with_an_image_survives_its_node(
    image: str, peer: Peer, node_folder: Path, joined: AgentProcess
) -> None:
    """Two agents, two shims, one store, one engine: the first node is killed, the second goes on in the middle of the count."""

    def steps(said: Peer, placement_id: str) -> list[int]:
        lines = said.log(placement_id).splitlines()[:-1]  # the last may be cut
        return [int(line.split()[1]) for line in lines if line.startswith("step ")]

    found = {ENGINE_VARIABLE: os.environ[ENGINE_VARIABLE]}
    async with node_of(peer, node_folder / "a", joined, found) as first:
        facts = peer.hellos[-1].facts
        assert facts.transparent.containers.works, facts.transparent.containers.why_not
        assert "podman" in facts.runtimes["containers-whole"]
        spec = peer.spec(COUNTER, image=image, transparent=True, checkpoint_every_s=1)
        await peer.want(spec)
        await peer.until(lambda: peer.checkpoints, "a dump is committed", 120)
        shim = first.shim_pid()
        first.clean_up()  # SIGKILL to agent and shim
        poll(lambda: processes.read_stat(shim) is None, "the shim is gone")
        before = steps(peer, spec.placement_id)
    same = Peer(name=peer.name, objects=peer.objects, checkpoints=peer.checkpoints)
    async with serve(same) as other, node_of(other, node_folder / "b", joined, found):
        again = spec.model_copy(update={"epoch": 2, "placement_id": f"{spec.placement_id}x"})
        await other.want(again)
        await other.until(lambda: len(steps(other, again.placement_id)) > 5, "it counts on", 120)
        after = steps(other, again.placement_id)
        assert after == list(range(after[0], after[0] + len(after)))
        assert 1 < after[0] <= before[-1] + 120, (before[-3:], after[:3])
        assert other.report(again.placement_id, ActualState.RUNNING)
