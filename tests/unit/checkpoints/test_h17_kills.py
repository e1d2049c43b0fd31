"""H17: a checkpoint is visible only when every byte of it is stored, however the writer or the store fails."""

import random
from pathlib import Path

import pytest
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.transfer import StoreUnreachable

from tests.unit.checkpoints.platform import Killed, Platform
from tests.unit.checkpoints.scene import Node, settle, tree


def _write(folder: Path, step: int) -> None:
    chance = random.Random(step)
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(random.Random(0).randbytes(400_000) + chance.randbytes(300_000))
    (folder / "step").write_text(str(step))
    settle(folder)


async def _every_visible_checkpoint_restores(
    platform: Platform, truth: dict[int, object], root: Path
) -> None:
    """Restore each row as if it were the newest; compare with what the folder was at that step."""
    rows, platform.fault, platform.torn = list(platform.rows), None, None
    for row in rows:
        platform.rows = [row]
        reader = Node(platform, root / row.id)
        restored = await reader.engine.restore()
        assert restored.damaged == ()
        assert tree(reader.folder) == truth[restored.step or 0]
    platform.rows = rows


@pytest.mark.parametrize("when", ["before", "after"])
async def test_h17_killed_at_every_call(tmp_path: Path, when: str) -> None:
    calls = 0
    kill_at = 0
    while kill_at <= calls:
        platform = Platform()
        root = tmp_path / f"{when}{kill_at}"
        node = Node(platform, root)
        truth: dict[int, object] = {}
        _write(node.folder, 1)
        truth[1] = tree(node.folder)
        assert await node.engine.snapshot("interval", 1) is not None
        _write(node.folder, 2)
        truth[2] = tree(node.folder)
        first = len(platform.calls)

        async def kill(moment: str, name: str, number: int, at: int = first + kill_at) -> None:
            if moment == when and number >= at:  # dead from this call on
                raise Killed

        platform.fault = kill
        try:
            await node.engine.snapshot("interval", 2)
        except Killed:
            assert len(platform.calls) > first + kill_at
        calls = max(calls, len(platform.calls) - first)
        await _every_visible_checkpoint_restores(platform, truth, root / "readers")
        # The agent comes back and goes on, over whatever the dead one left.
        node.restart()
        _write(node.folder, 3)
        truth[3] = tree(node.folder)
        assert await node.engine.snapshot("interval", 3) is not None
        await _every_visible_checkpoint_restores(platform, truth, root / "later")
        kill_at += 1
    assert calls >= 6, "open, packs, put, manifest, put, commit"


@pytest.mark.parametrize("seed", range(60))
async def test_h17_a_store_that_tears_delays_and_refuses(tmp_path: Path, seed: int) -> None:
    """503 before or after the effect, lost answers, torn bodies: retried until it holds, or given up cleanly."""
    chance = random.Random(seed)
    platform = Platform()
    trouble = chance.choice([0.1, 0.3, 0.6])

    async def fault(moment: str, name: str, number: int) -> None:
        if chance.random() < trouble:
            raise HttpFailure(chance.choice([0, 0, 500, 502, 503, 504, 429]), None, f"{moment} {name}")

    node = Node(platform, tmp_path / "a")
    truth: dict[int, object] = {}
    committed = set()
    for step in range(1, 5):
        _write(node.folder, step)
        truth[step] = tree(node.folder)
        platform.fault = fault
        platform.torn = lambda _url, data: (
            data[: chance.randrange(len(data))] if chance.random() < 0.2 else data
        )
        try:
            if await node.engine.snapshot("interval", step) is not None:
                committed.add(step)
        except StoreUnreachable:
            pass
    assert committed <= {row.step for row in platform.rows}, "what was acknowledged is there"
    await _every_visible_checkpoint_restores(platform, truth, tmp_path / "readers")


async def test_h17_a_failed_snapshot_leaves_the_engine_usable(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")

    async def down(moment: str, name: str, number: int) -> None:
        if name.startswith("PUT"):
            raise HttpFailure(503)

    _write(node.folder, 1)
    platform.fault = down
    with pytest.raises(StoreUnreachable):
        await node.engine.snapshot("interval", 1)
    platform.fault = None
    result = await node.engine.snapshot("interval", 1)
    assert result is not None
    await _every_visible_checkpoint_restores(platform, {1: tree(node.folder)}, tmp_path / "readers")


async def test_h17_a_store_that_does_not_answer_is_not_damage(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    for step in (1, 2):
        _write(node.folder, step)
        await node.engine.snapshot("interval", step)

    async def down(moment: str, name: str, number: int) -> None:
        if name.startswith("READ"):
            raise HttpFailure(503)

    platform.fault = down
    other = Node(platform, tmp_path / "b")
    with pytest.raises(StoreUnreachable):
        await other.engine.restore()
    assert platform.damaged == [], "the older one must not be taken because the network is bad"
    assert not other.folder.exists()


async def test_h19_nothing_is_written_before_it_is_recorded(tmp_path: Path) -> None:
    """Collection comes later; it will know every object: each pack was announced, under an upload, before its bytes."""
    platform = Platform()
    node = Node(platform, tmp_path / "a")

    async def check(moment: str, name: str, number: int) -> None:
        if name.startswith("PUT") and "/packs/" in name:
            upload_id, _ = platform.announced[name.rsplit("/", 1)[1]]
            assert upload_id in platform.uploads
        if name.startswith("PUT") and "/manifests/" in name:
            seq = int(name.rsplit("/", 1)[1].split("-")[0])
            assert any(known == seq for _, known in platform.uploads.values())

    platform.fault = check
    for step in (1, 2, 3):
        _write(node.folder, step)
        assert await node.engine.snapshot("interval", step) is not None
    assert not any(call.startswith("DELETE") for call in platform.calls)
    assert set(platform.objects) >= {
        f"jobs/job_1/packs/{pack}" for row in platform.rows for pack in row.packs
    }
