"""Jobs that know nothing of checkpoints: dumped, ended with their node, and going on elsewhere, memory and all."""

import base64
import contextlib
import os
import secrets
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gp4u_agent.dumps import DumpRefused, extract_checkpoint_folder, seal, verify
from gp4u_agent.runtime import processes
from gp4u_agent.runtime.bundle import dumping, record
from gp4u_agent.runtime.bundle.adapter import Bundle
from gp4u_agent.runtime.port import StartRefused, Workload
from gp4u_protocol.messages import ActualState, DesiredRun
from gp4u_protocol.transparent import TransparentFacts

from tests.integration.agent.bundles import no_dumps_here, no_gvisor_here
from tests.integration.agent.conftest import AgentProcess, node_of, poll
from tests.integration.agent.peer import Peer, serve
from tests.integration.agent.runtimes import LIMITS

pytestmark = pytest.mark.skipif(bool(no_dumps_here()), reason=no_dumps_here() or "-")
COUNTER = """exec python3 -c '
import time
seen, file = [], open("/tmp/open-file", "a+")
while True:
    seen.append(len(seen) + 1)
    file.write("%d\\n" % len(seen)); file.flush()
    assert seen == list(range(1, len(seen) + 1))
    print("step", len(seen), flush=True)
    time.sleep(0.02)
'"""
"""Its only state is in memory, in a file system in memory, and in an open descriptor."""


class Place:
    """A folder as of one placement, on "a node": what a Bundle works in."""

    def __init__(self, folder: Path, command: str = COUNTER) -> None:
        for name in ("job", "control", "inside"):
            (folder / name).mkdir(parents=True)
        self.runtime = Bundle()
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self.said = ""
        self.workload = Workload(
            name=f"test-{secrets.token_hex(4)}",
            owner="job_of_this_test",
            command=command,
            environment={},
            job_dir=folder / "job",
            control_dir=folder / "control",
            inside_dir=folder / "inside",
            checkpoint_path="ckpt",
            limits=LIMITS,
            network=False,
        )

    def steps(self) -> list[int]:
        while select.select([self.read_end], [], [], 0)[0] and (piece := os.read(self.read_end, 1 << 16)):
            self.said += piece.decode()
        whole = self.said[: self.said.rfind("\n") + 1]
        return [int(line.split()[1]) for line in whole.splitlines() if line.startswith("step ")]

    def end(self) -> None:
        self.runtime.kill()
        self.runtime.clean_up()
        os.close(self.read_end)
        os.close(self.write_end)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gp4u-transparent-test-") as name:
        yield Path(name)


@contextlib.contextmanager
def place(folder: Path) -> Iterator[Place]:
    made = Place(folder)
    try:
        yield made
    finally:
        made.end()


def dump(of: Place, into: Path) -> None:
    of.runtime.begin_dump(into)
    result = poll(of.runtime.poll_dump, "the dump is done", 60.0)
    assert result.why_not == ""


def test_a_job_goes_on_from_its_memory_and_again_from_that(folder: Path) -> None:
    """Twice, because what was restored must be as good a start as what was started."""
    with place(folder / "first") as first:
        first.runtime.start(first.workload, first.write_end)
        poll(lambda: len(first.steps()) > 3, "it counts", 30.0)
        at_begin = first.steps()[-1]
        dump(first, folder / "dump")
        at_dump = first.steps()[-1]  # it may have counted on between the end of the dump and this look
        poll(lambda: first.steps()[-1] > at_dump, "a dump does not end it")
    for name in ("second", "third"):
        with place(folder / name) as there:
            there.runtime.restore(there.workload, folder / "dump", there.write_end)
            time.sleep(0.2)
            assert there.steps() == [], "it ran before its shim let it"
            there.runtime.thaw()
            poll(lambda there=there: len(there.steps()) > 3, "it counts on", 30.0)
            next_begin = there.steps()[-1]
            dump(there, folder / "dump2")
            steps = there.steps()
        assert steps == list(range(steps[0], steps[0] + len(steps)))
        assert at_begin < steps[0] <= at_dump + 3
        shutil.rmtree(folder / "dump")
        (folder / "dump2").rename(folder / "dump")
        at_begin, at_dump = next_begin, steps[-1]


def with_criu_s_own_freezer(of: Place) -> Path:
    """The inner group that CRIU freezes, with our lid in the same hierarchy: where there are two, ours is in the other."""
    groups = of.runtime._groups
    for folder in groups.folders:
        if (folder / "freezer.state").exists():
            groups.inner.folders["freeze"], groups.inner.versions["freeze"] = folder, 1
            return folder / "freezer.self_freezing"
    return groups.inner.folders["freeze"] / "cgroup.freeze"


def test_h2_a_lease_that_ends_during_a_dump_freezes_all_the_same(folder: Path) -> None:
    """CRIU thaws what it froze when it is done; the lease's freeze must not be what it thaws."""
    with place(folder / "first") as first:
        first.runtime.start(first.workload, first.write_end)
        poll(lambda: len(first.steps()) > 3, "it counts", 30.0)
        frozen_by_criu = with_criu_s_own_freezer(first)
        deadline = time.monotonic() + 30
        first.runtime.begin_dump(folder / "dump")
        while frozen_by_criu.read_text().strip() != "1":  # no pause: it lasts a tenth of a second
            assert time.monotonic() < deadline, "no dump was met in its middle"
            if first.runtime.poll_dump() is not None:
                first.runtime.begin_dump(folder / "dump")
        poll(first.runtime.freeze, "it is frozen", 30.0)
        before = first.steps()
        ended, until = None, time.monotonic() + 1.5
        while time.monotonic() < until:  # as the shim goes on looking after the dump
            ended = ended or first.runtime.poll_dump()
            time.sleep(0.02)
        assert first.steps() == before
        first.runtime.thaw()
        if ended is None:
            poll(first.runtime.poll_dump, "the dump ends", 60.0)
        poll(lambda: len(first.steps()) > len(before), "it goes on", 30.0)


def test_a_restored_job_that_is_not_confined_as_before_is_killed(folder: Path) -> None:
    with place(folder / "first") as first:
        first.runtime.start(first.workload, first.write_end)
        poll(lambda: len(first.steps()) > 3, "it counts", 30.0)
        dump(first, folder / "dump")
    before = dumping.read_record(folder / "dump")
    root = next(mount for mount in before["mounts"] if mount.startswith("/ "))
    assert " nodev,nosuid,ro " in root, before["mounts"]
    before["mounts"][before["mounts"].index(root)] = root.replace(",ro ", ",rw ")
    dumping.write_record(folder / "dump", before)
    with place(folder / "second") as second:
        with pytest.raises(StartRefused, match="not confined as it was: mounts"):
            second.runtime.restore(second.workload, folder / "dump", second.write_end)
        assert second.runtime.pids() == []
        assert second.steps() == []


def test_what_differs_is_named() -> None:
    same = {"mounts": ["/ ro", "/usr ro"], "confinement": ["Seccomp=2"]}
    assert record.differences(same, same) == []
    lost = {"mounts": ["/ rw", "/usr ro"], "confinement": []}
    assert record.differences(same, lost) == ["confinement: Seccomp=2 became -", "mounts: / ro became / rw"]


def test_only_what_the_right_agent_signed_is_imported(tmp_path: Path) -> None:
    """Every file, the note, the job, the epoch and the signer."""
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    wrong = base64.b64encode(other.public_key().public_bytes_raw()).decode()

    def sign(content: bytes) -> str:
        return base64.b64encode(key.sign(content)).decode()

    def fresh(name: str) -> Path:
        made = tmp_path / name
        (made / "image").mkdir(parents=True)
        (made / "image" / "pages.img").write_bytes(b"memory")
        seal(made, "job_1", 3, TransparentFacts(by="criu"), sign)
        return made

    good = fresh("good")
    assert verify(good, "job_1", 3, public).made_by.by == "criu"
    for job, epoch, signer in (("job_2", 3, public), ("job_1", 4, public), ("job_1", 3, wrong)):
        with pytest.raises(DumpRefused):
            verify(good, job, epoch, signer)
    changed, added, gone, noted = (fresh(name) for name in ("changed", "added", "gone", "noted"))
    (changed / "image" / "pages.img").write_bytes(b"other!")
    (added / "image" / "more.img").write_bytes(b"")
    (gone / "image" / "pages.img").unlink()
    (noted / "dump.json").write_bytes((noted / "dump.json").read_bytes().replace(b"criu", b"CRIU"))
    for damaged in (changed, added, gone, noted):
        with pytest.raises(DumpRefused):
            verify(damaged, "job_1", 3, public)


def test_where_a_dump_cannot_be_restored_its_checkpoint_folder_can(tmp_path: Path) -> None:
    """The files are those of the dump's instant, and nothing beside that folder comes along."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "out" / "ckpt" / "inner").mkdir(parents=True)
    target.mkdir()
    (source / "out" / "ckpt" / "inner" / "weights").write_text("w")
    (source / "out" / "other").write_text("o")
    subprocess.run(
        ["tar", "--create", "--file", tmp_path / dumping.JOB_FILES, "--directory", source, "."], check=True
    )
    assert extract_checkpoint_folder(tmp_path, target, "out/ckpt", None)
    files = [str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()]
    assert files == ["out/ckpt/inner/weights"]
    assert not extract_checkpoint_folder(tmp_path, target, "nothing", None)


@pytest.fixture
async def other(joined: AgentProcess, peer: Peer) -> AsyncIterator[Peer]:
    """The platform as a second node sees it: the same jobs, the same store."""
    async with serve(Peer(name=peer.name, objects=peer.objects, checkpoints=peer.checkpoints)) as second:
        yield second


def steps_in(log: str) -> list[int]:
    return [int(line.split()[1]) for line in log.splitlines() if line.startswith("step ")]


BY_GVISOR = pytest.param(
    "gvisor", marks=pytest.mark.skipif(bool(no_gvisor_here()), reason=no_gvisor_here() or "-")
)


@pytest.mark.parametrize("by", ["criu", BY_GVISOR])
async def test_a_job_that_knows_nothing_of_checkpoints_survives_its_node(
    peer: Peer, other: Peer, node_folder: Path, joined: AgentProcess, by: str
) -> None:
    """Two agents, two shims, one store: the first node is killed outright, the second goes on in the middle of the count."""
    chosen = {"GP4U_SAVE_WHOLE": by}
    async with node_of(peer, node_folder / "a", joined, chosen) as first:
        assert peer.hellos[-1].facts.transparent.works, peer.hellos[-1].facts.transparent.why_not
        spec = peer.spec(COUNTER, transparent=True, checkpoint_every_s=1)
        await peer.want(spec)
        await peer.until(lambda: peer.checkpoints, "a dump is committed", 90)
        shim = first.shim_pid()
        first.clean_up()  # SIGKILL to agent and shim
        poll(lambda: processes.read_stat(shim) is None, "the shim is gone")
        before = steps_in(peer.log(spec.placement_id))
    async with node_of(other, node_folder / "b", joined, chosen) as second:
        again = spec.model_copy(update={"epoch": 2, "placement_id": f"{spec.placement_id}x"})
        await other.want(again)
        await other.until(lambda: len(steps_in(other.log(again.placement_id))) > 5, "it counts on", 90)
        after = steps_in(other.log(again.placement_id))
        assert after == list(range(after[0], after[0] + len(after)))
        assert 1 < after[0] <= before[-1] + 60, (before[-3:], after[:3])
        assert other.report(again.placement_id, ActualState.RUNNING)
        # It is moved once more, politely: dumped where it stands instead of told to end, which it would take literally.
        await other.want(again.model_copy(update={"desired": DesiredRun.STOP, "stop_reason": "moving"}))
        await other.until(lambda: other.report(again.placement_id, ActualState.STOPPED), "it has left", 60)
        assert (other.checkpoints[-1]["trigger"], other.checkpoints[-1]["epoch"]) == ("final", 2)
        assert "transparent" in other.checkpoints[-1]
        assert second.process is not None


async def test_a_dump_that_another_key_signed_is_not_restored(
    peer: Peer, other: Peer, node_folder: Path, joined: AgentProcess
) -> None:
    async with node_of(peer, node_folder / "a", joined):
        spec = peer.spec(COUNTER, transparent=True, checkpoint_every_s=1)
        await peer.want(spec)
        await peer.until(lambda: peer.checkpoints, "a dump is committed", 90)
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for row in other.checkpoints:
        row["transparent"]["signed_by"] = base64.b64encode(stranger).decode()
    async with node_of(other, node_folder / "b", joined):
        again = spec.model_copy(update={"epoch": 2, "placement_id": f"{spec.placement_id}x"})
        await other.want(again)
        failed = await other.until(
            lambda: other.report(again.placement_id, ActualState.START_FAILED), "it is refused", 60
        )
        assert failed.reason == "restore_failed"
        assert "not signed" in failed.detail
