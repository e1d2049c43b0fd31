"""A real agent stands by: it fetches each new checkpoint's packs once, starts from them, and lets go what is named no more."""

import base64
import signal

from gp4u_protocol.messages import ActualState, RestorePoint, StandbySpec

from tests.integration.agent.conftest import AgentProcess
from tests.integration.agent.peer import DATA_KEY, Peer
from tests.integration.agent.test_placement import packed

SAVES = (
    "head -c 3000000 /dev/urandom > $GP4U_CHECKPOINT_DIR/{name}; gp4u-checkpoint --step 1; "
    "sha256sum $GP4U_CHECKPOINT_DIR/*; sleep 0.5"
)


async def ran(peer: Peer, placement_id: str) -> str:
    """The output of a placement, once it ended well."""
    report = await peer.until(lambda: peer.report(placement_id, ActualState.EXITED), "the job ends")
    assert report.exit_code == 0, peer.log(placement_id)
    return peer.log(placement_id)


def newest(peer: Peer) -> RestorePoint:
    row = peer.checkpoints[-1]
    return RestorePoint(checkpoint_id=row["id"], epoch=row["epoch"], seq=row["seq"])


async def stand_by(peer: Peer) -> None:
    """The node is told to hold the newest checkpoint, and says that it does."""
    spec = StandbySpec(
        standby_id="sby_1", job_id=peer.job_id, checkpoint=newest(peer), upload_id="up_1", disk_mb=64
    )
    peer.standbys = [spec]
    await peer.tell_desired()

    def is_held() -> bool:
        said = peer.standby_reports[-1] if peer.standby_reports else None
        return said is not None and said.ready and said.held == spec.checkpoint

    await peer.until(is_held, f"{spec.checkpoint} is held")


async def test_a_standby_starts_without_a_download(peer: Peer, node: AgentProcess) -> None:
    packs: list[set[str]] = []
    peer.uploads["up_1"] = packed({"hello.sh": b"echo the folder is here; sha256sum ckpt/*; sleep 0.5"})
    for number, name in enumerate(("one", "two"), start=1):
        placement = f"{peer.first}x{number}"
        point = newest(peer) if peer.checkpoints else None
        command = SAVES.format(name=name)
        await peer.want(peer.spec(command, placement_id=placement, epoch=number, restore=point))
        said = await ran(peer, placement)
        peer.desired.clear()
        peer.read.clear()
        await stand_by(peer)
        packs.append(set(peer.checkpoints[-1]["packs"]))
        fetched = set(peer.read) & packs[-1]
        held = node.state / "standbys" / peer.job_id / "packs"
        assert {path.name for path in held.iterdir()} == packs[-1]
        if number == 2:
            assert packs[0] & packs[1], "the second checkpoint builds on the first"
    assert packs[1] - packs[0] <= fetched

    # Its own node is lost: this one is given the job. One pack was damaged on its disk meanwhile.
    damaged = sorted(packs[1])[0]
    content = bytearray((held / damaged).read_bytes())
    content[len(content) // 2] ^= 1
    (held / damaged).write_bytes(content)
    peer.read.clear()
    peer.standbys = []
    await peer.want(
        peer.spec("sh hello.sh", placement_id=peer.second, epoch=3, restore=newest(peer), upload_id="up_1")
    )
    output = await ran(peer, peer.second)
    assert "the folder is here" in output
    assert set(peer.read) & packs[1] <= {damaged}, "only what did not verify was read from the store"
    assert "up_1" not in peer.read
    sums = [line.split()[0] for line in said.splitlines() if len(line.split()) == 2]
    assert [line.split()[0] for line in output.splitlines() if "ckpt/" in line] == sums
    await peer.until(lambda: not held.exists(), "what was kept is removed, for the job goes on from its own")


async def test_what_is_kept_holds_no_key_and_survives_a_restart_of_the_agent(
    peer: Peer, node: AgentProcess
) -> None:
    peer.uploads["up_1"] = packed({"a": b"1"})
    await peer.want(peer.spec(SAVES.format(name="one")))
    await ran(peer, peer.first)
    peer.desired.clear()
    await stand_by(peer)
    key = base64.b64decode(DATA_KEY)
    files = [path for path in (node.state / "standbys").rglob("*") if path.is_file()]
    assert files
    assert not any(key in path.read_bytes() or DATA_KEY.encode() in path.read_bytes() for path in files)
    node.signal(signal.SIGKILL)
    peer.read.clear()
    peer.standby_reports.clear()
    peer.standbys = [spec.model_copy(update={"held": None, "ready": False}) for spec in peer.standbys or []]
    node.start()
    await stand_by(peer)
    assert not set(peer.read) & set(peer.checkpoints[-1]["packs"]), "what is here is not fetched again"
