"""A job that starts while files of its checkpoint still arrive: real agent, real sandbox, a store that holds them back."""

import signal

from gp4u_protocol.messages import ActualState, Report, RestorePoint

from tests.integration.agent.conftest import AgentProcess
from tests.integration.agent.peer import Peer

SAVES = """
cd $GP4U_CHECKPOINT_DIR; echo one > model.t; mv model.t model; gp4u-checkpoint --step 1
mkdir data; head -c 300000 /dev/urandom > data/a.t; mv data/a.t data/a; gp4u-checkpoint --step 2
sha256sum data/a; sleep 60
"""
GOES_ON = """python -c '
import gp4u_job, hashlib, os, time
folder = gp4u_job.checkpoint_dir()
print("started", gp4u_job.pending(), sorted(os.listdir(folder + "/data")), gp4u_job.restored(), flush=True)
open(folder + "/model.t", "w").write("two")
os.rename(folder + "/model.t", folder + "/model")
gp4u_job.checkpoint(3)
print("saved", flush=True)
data = gp4u_job.wait_for("data", timeout_s=90) + "/a"
print(hashlib.sha256(open(data, "rb").read()).hexdigest(), " is there", os.stat(data).st_uid == os.getuid(), flush=True)
open(data, "ab").write(b"x")
print("mine", flush=True)
time.sleep(60)
'"""


async def _saved(peer: Peer) -> tuple[str, list[str]]:
    """What the cold file hashes to, and the packs that only it is in."""
    await peer.want(peer.spec(SAVES))
    await peer.until(lambda: "data/a" in peer.log(peer.first), "two checkpoints are saved")
    await peer.supersede(peer.first)
    before, after = (set(row["packs"]) for row in peer.checkpoints)
    return peer.log(peer.first).split()[0], sorted(after - before)


async def _started_lazily(peer: Peer) -> None:
    point = RestorePoint(checkpoint_id="checkpoint-2", epoch=1, seq=2)
    await peer.want(
        peer.spec(GOES_ON, placement_id=peer.second, epoch=2, restore=point, checkpoint_lazy=["data/**"])
    )


def _arriving(peer: Peer) -> list[Report]:
    return [r for r in peer.reports if r.placement_id == peer.second and r.arriving is not None]


async def test_a_job_starts_saves_and_outlives_its_agent_while_a_file_still_arrives(
    peer: Peer, node: AgentProcess
) -> None:
    digest, cold = await _saved(peer)
    assert cold
    peer.held_back.update(cold)
    await _started_lazily(peer)
    await peer.until(lambda: "saved" in peer.log(peer.second), "it runs and saves without the file")
    assert peer.log(peer.second).startswith("started ['data/a'] [] True\n")
    first = await peer.until(lambda: _arriving(peer), "the platform is told")
    assert (first[0].state, first[0].arriving.files, first[0].arriving.bytes) == (
        ActualState.RUNNING,
        1,
        300_000,
    )
    assert set(peer.checkpoints[-1]["packs"]) >= set(cold), "what has not arrived is in the new checkpoint"
    node.signal(signal.SIGKILL)
    peer.held_back.clear()
    node.start()
    await peer.until(lambda: "mine" in peer.log(peer.second), "the file arrives", within_s=60)
    assert f"{digest}  is there True\n" in peer.log(peer.second), "whole, and the job's own"
    last = await peer.until(
        lambda: [r for r in _arriving(peer) if r.arriving and r.arriving.files == 0], "all there is told"
    )
    assert last[0].durations_ms["arriving"] >= 0
    second = node.folder().path.parent / f"{peer.second}.2"
    assert not (second / "control" / "restore-pending.json").exists()
    await peer.until(lambda: not (second / "cold").exists(), "nothing is left behind")


async def test_h18_a_file_that_turns_out_damaged_ends_the_run_and_no_checkpoint_carries_it_on(
    peer: Peer, node: AgentProcess
) -> None:
    _, (pack,) = await _saved(peer)
    peer.held_back.add(pack)
    await _started_lazily(peer)
    await peer.until(lambda: "saved" in peer.log(peer.second), "it runs and saves without the file")
    content = bytearray(peer.objects[pack])
    content[len(content) // 2] ^= 1
    peer.objects[pack] = bytes(content)
    peer.held_back.clear()
    ended = await peer.until(lambda: peer.report(peer.second, ActualState.KILLED), "the run is ended")
    assert ended.reason == "restore_failed"
    assert "could not be read back" in ended.detail
    damaged = [row["id"] for row in peer.checkpoints if row.get("damaged")]
    assert damaged == ["checkpoint-2", "checkpoint-3"], "and none after them"
