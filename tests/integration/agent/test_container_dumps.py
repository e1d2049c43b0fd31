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
from gp4u_agent.runtime.port import StartRefused, Workload

from tests.integration.agent import engines
from tests.integration.agent.conftest import poll
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
