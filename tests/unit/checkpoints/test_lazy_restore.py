"""A job starts while cold files of its checkpoint still arrive: every checkpoint that it makes meanwhile is whole."""

import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from gp4u_agent.checkpoint import cold
from gp4u_agent.checkpoint.arriving import Arrivals
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.transfer import StoreUnreachable
from gp4u_agent.http import StaleEpoch
from gp4u_protocol.checkpoint import lazy
from gp4u_protocol.checkpoint.errors import Damaged

from tests.unit.checkpoints.platform import Killed, Platform
from tests.unit.checkpoints.scene import Node, settle, tree

LAZY = ["data/**", "*.cold"]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "BATCH_FILES_MAX", 2)
    monkeypatch.setattr(cold, "BLOCKED_RETRY_S", 0.001)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    settle(folder)


COLD = {f"data/{n // 3}/{n}": bytes([n]) * (100 + 50_000 * (n % 2)) for n in range(7)} | {"x.cold": b"x" * 9}
ALL = {"model": b"m" * 1000, "data/index": b"", **COLD}


async def _saved(platform: Platform, root: Path) -> dict[str, Any]:
    """A job saved everything on a first node. What it saved."""
    node = Node(platform, root / "first")
    _write(node.folder, ALL)
    (node.folder / "data" / "0").chmod(0o750)
    (node.folder / "data" / "0" / "1").chmod(0o600)
    (node.folder / "latest").symlink_to("data/0/1")
    assert await node.engine.snapshot("job", 1) is not None
    return tree(node.folder)


async def _started(platform: Platform, root: Path, name: str = "second") -> Node:
    node = Node(platform, root / name, lazy=LAZY)
    assert (await node.engine.restore()).checkpoint_id is not None
    return node


async def _rest(node: Node, wanted: Iterable[str] = ()) -> None:
    await node.engine.bring_rest(lambda: set(wanted), lambda _: None)
    await node.engine.all_arrived()


async def _only_some(node: Node, platform: Platform, batches: int) -> None:
    """Bring so many batches, then lose the agent."""
    steps = 0

    def told(arrivals: Arrivals) -> None:
        nonlocal steps
        steps += 1
        if steps > batches:
            raise Killed

    with pytest.raises(Killed):
        await node.engine.bring_rest(lambda: (), told)
    node.restart()


async def _restored_elsewhere(platform: Platform, root: Path) -> dict[str, Any]:
    """The newest checkpoint alone, all of it at once, on a fresh node."""
    rows, platform.rows = platform.rows, platform.rows[-1:]
    reader = Node(platform, root / f"reader{len(rows)}")
    assert (await reader.engine.restore()).damaged == ()
    platform.rows = rows
    return tree(reader.folder)


async def test_the_job_starts_without_its_cold_files_and_they_follow(tmp_path: Path) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    assert tree(node.folder) == {name: what for name, what in everything.items() if name not in COLD}
    left = []
    await node.engine.bring_rest(lambda: (), lambda arrivals: left.append(arrivals.left))
    assert tree(node.folder) == everything
    assert left[0] == (len(COLD), sum(map(len, COLD.values())))
    assert left[-1] == (0, 0)
    assert left == sorted(left, reverse=True)
    node.restart()
    assert await node.engine.arrivals() is not None, "not told yet: a restarted agent finds that out"
    await _rest(node)
    assert await node.engine.arrivals() is None
    assert not (node.root / "cold").exists()
    for name in COLD:
        assert (node.folder / name).stat().st_mtime_ns % 10**9 == 0, "times are restored, too"


async def test_nothing_follows_where_nothing_is_lazy(tmp_path: Path) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    node = Node(platform, tmp_path / "eager")
    await node.engine.restore()
    assert tree(node.folder) == everything
    assert await node.engine.arrivals() is None
    await _rest(node)


@pytest.mark.parametrize("batches", [0, 1, 3])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_checkpoint_taken_meanwhile_is_whole(tmp_path: Path, batches: int, restarted: bool) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    assert await node.engine.snapshot("interval") is None, "nothing changed: what is pending is not gone"
    await _only_some(node, platform, batches)
    if restarted:
        shutil.rmtree(node.root / "cache", ignore_errors=True)
    _write(node.folder, {"model": b"new" * 100})
    result = await node.engine.snapshot("job", 2)
    assert result is not None
    assert result.files == len(ALL)
    expected = {**everything, "model": ("file", 0o644, b"new" * 100)}
    assert await _restored_elsewhere(platform, tmp_path) == expected
    await _rest(node)
    assert tree(node.folder) == expected
    assert await node.engine.snapshot("final") is None


async def test_a_third_node_goes_on_from_a_checkpoint_with_files_that_never_arrived(tmp_path: Path) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    for epoch in (2, 3):
        platform.epoch = epoch
        node = Node(platform, tmp_path / str(epoch), epoch=epoch, lazy=LAZY)
        await node.engine.restore()
        _write(node.folder, {"model": bytes([epoch])})
        assert await node.engine.snapshot("job", epoch) is not None
    await _rest(node)
    assert tree(node.folder) == {**everything, "model": ("file", 0o644, bytes([3]))}


async def test_the_jobs_own_file_wins(tmp_path: Path) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    _write(node.folder, {"data/0/0": b"the job's own"})
    expected = {**everything, "data/0/0": ("file", 0o644, b"the job's own")}
    assert await node.engine.snapshot("job", 2) is not None
    assert await _restored_elsewhere(platform, tmp_path) == expected
    # Seen by a checkpoint, it is the job's to delete: the old one does not come back.
    (node.folder / "data/0/0").unlink()
    del expected["data/0/0"]
    assert await node.engine.snapshot("job", 3) is not None
    assert await _restored_elsewhere(platform, tmp_path) == expected
    node.restart()
    await _rest(node)
    assert tree(node.folder) == expected


async def test_own_files_that_no_checkpoint_saw_win_as_well(tmp_path: Path) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    _write(node.folder, dict.fromkeys(COLD, b"own"))
    await _rest(node)
    assert tree(node.folder) == {**everything, **dict.fromkeys(COLD, ("file", 0o644, b"own"))}


async def test_what_the_job_deletes_after_it_arrived_is_gone_and_what_is_pending_is_not(
    tmp_path: Path,
) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    await _only_some(node, platform, 1)
    arrived = [name for name in COLD if (node.folder / name).exists()]
    assert len(arrived) == 2
    (node.folder / arrived[0]).unlink()
    expected = {name: what for name, what in everything.items() if name != arrived[0]}
    assert await node.engine.snapshot("job", 2) is not None
    assert await _restored_elsewhere(platform, tmp_path) == expected
    await _rest(node)
    assert tree(node.folder) == expected
    assert await node.engine.snapshot("final") is None


async def test_a_folder_that_the_job_removed_comes_back_with_what_was_pending_in_it(tmp_path: Path) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    shutil.rmtree(node.folder / "data")
    expected = {name: what for name, what in everything.items() if name != "data/index"}
    assert await node.engine.snapshot("job", 2) is not None
    assert await _restored_elsewhere(platform, tmp_path) == expected
    await _rest(node)
    assert tree(node.folder) == expected


async def test_a_link_in_place_of_a_folder_is_not_followed_and_nothing_is_forgotten(tmp_path: Path) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(node.folder / "data" / "0")
    (node.folder / "data" / "0").symlink_to(outside)
    rounds = 0

    def told(arrivals: Arrivals) -> None:
        nonlocal rounds
        rounds += 1
        if rounds > 12:
            raise Killed

    with pytest.raises(Killed):
        await node.engine.bring_rest(lambda: (), told)
    assert not list(outside.iterdir())
    arrivals = await node.engine.arrivals()
    assert arrivals is not None
    assert {entry.path for entry in arrivals.pending().values()} == {"data/0/0", "data/0/1", "data/0/2"}
    # The job takes its link away again: what waited behind it is in the next checkpoint, and arrives.
    (node.folder / "data" / "0").unlink()
    _write(node.folder, {"model": b"2"})
    assert await node.engine.snapshot("job", 2) is not None
    expected = {**everything, "model": ("file", 0o644, b"2")}
    assert await _restored_elsewhere(platform, tmp_path) == expected
    node.restart()
    await _rest(node)
    assert tree(node.folder) == expected


async def test_what_the_job_waits_for_comes_first(tmp_path: Path) -> None:
    platform = Platform()
    await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    there: list[set[str]] = []
    await node.engine.bring_rest(
        lambda: {"x.cold", "data/2"},
        lambda _: there.append({name for name in COLD if (node.folder / name).exists()}),
    )
    assert there[1] == {"x.cold", "data/2/6"}


async def test_killed_at_every_call_the_files_arrive_and_every_checkpoint_is_whole(tmp_path: Path) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    rows = list(platform.rows)
    for kill_at in range(100):
        platform.rows, platform.fault = list(rows), None
        node = await _started(platform, tmp_path, f"killed{kill_at}")
        first = len(platform.calls)

        async def kill(moment: str, name: str, number: int, at: int = first + kill_at) -> None:
            if number >= at:
                raise Killed

        platform.fault = kill
        try:
            await _rest(node)
        except Killed:
            platform.fault = None
            node.restart()
            if kill_at % 3 == 0:
                assert await node.engine.snapshot("interval") is None
            await _rest(node)
            assert tree(node.folder) == everything
        else:
            assert kill_at > 4, "there was something to kill"
            return
    raise AssertionError("never came to an end")


async def test_a_store_that_is_away_delays_and_a_stale_epoch_ends_it(tmp_path: Path) -> None:
    platform = Platform()
    everything = await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)

    async def down(moment: str, name: str, number: int) -> None:
        if name.startswith("READ"):
            raise HttpFailure(503)

    platform.fault = down
    with pytest.raises(StoreUnreachable):
        await _rest(node)
    assert platform.damaged == []
    platform.fault, platform.epoch = None, 2
    with pytest.raises(StaleEpoch):
        await _rest(node)
    platform.epoch = 1
    await _rest(node)
    assert tree(node.folder) == everything


async def test_h18_a_damaged_block_is_told_of_every_checkpoint_that_has_it(tmp_path: Path) -> None:
    platform = Platform()
    first = Node(platform, tmp_path / "first")
    _write(first.folder, {"model": b"old", "data/good": b"g" * 100})
    assert await first.engine.snapshot("job", 1) is not None
    good = tree(first.folder)
    known = set(platform.objects)
    _write(first.folder, {"data/bad": b"b" * 50_000})
    assert await first.engine.snapshot("job", 2) is not None
    (pack,) = (key for key in set(platform.objects) - known if "/packs/" in key)
    node = await _started(platform, tmp_path)
    _write(node.folder, {"model": b"new"})
    assert await node.engine.snapshot("job", 3) is not None
    spoiled = bytearray(platform.objects[pack])
    spoiled[len(spoiled) // 2] ^= 1
    platform.objects[pack] = bytes(spoiled)
    with pytest.raises(Damaged) as damage:
        await _rest(node)
    assert not (node.folder / "data/bad").exists(), "nothing that does not verify reaches the job"
    await node.engine.report_arrivals_damaged(damage.value)
    assert sorted(platform.damaged) == ["ckpt_2", "ckpt_3"]
    _write(node.folder, {"model": b"newest"})
    with pytest.raises(Damaged):
        await node.engine.snapshot("final")
    assert len(platform.rows) == 3, "the damage is not carried on"
    # The next start reads those whole, finds them damaged before the job runs, and takes the older one.
    third = await _started(platform, tmp_path, "third")
    assert third.engine.newest is not None
    await _rest(third)
    assert tree(third.folder) == good


async def test_a_checkpoint_that_is_kept_no_more_is_damage(tmp_path: Path) -> None:
    platform = Platform()
    await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)

    async def gone(moment: str, name: str, number: int) -> None:
        if name.endswith("/download"):
            raise HttpFailure(404, "checkpoint_not_found")

    platform.fault = gone
    with pytest.raises(Damaged):
        await _rest(node)


async def test_h17_lost_packs_never_make_a_checkpoint_without_the_cold_files(tmp_path: Path) -> None:
    platform = Platform()
    await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    for key in [key for key in platform.objects if "/packs/" in key]:
        del platform.objects[key]
    _write(node.folder, {"model": b"2"})
    with pytest.raises(HttpFailure):
        await node.engine.snapshot("job", 2)
    assert len(platform.rows) == 1


async def test_what_is_pending_cannot_be_read_so_nothing_is_saved(tmp_path: Path) -> None:
    platform = Platform()
    await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    manifest = node.root / "cold" / "manifest"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    node.restart()
    _write(node.folder, {"model": b"2"})
    with pytest.raises(Damaged):
        await node.engine.snapshot("job", 2)
    assert len(platform.rows) == 1


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_in_between(tmp_path: Path, seed: int) -> None:
    """Arrivals, restarts, checkpoints and the job's own writes and deletions in any order, against what the folder would be had
    everything been there from the start."""
    chance = random.Random(seed)
    platform = Platform()
    expected = await _saved(platform, tmp_path)
    node = await _started(platform, tmp_path)
    for step in range(12):
        match chance.choice(["bring", "bring", "write", "delete", "restart", "save", "save"]):
            case "bring":
                if await node.engine.arrivals() is not None:
                    await _only_some(node, platform, 1) if chance.random() < 0.8 else await _rest(node)
            case "write":
                name, content = chance.choice(sorted(ALL)), bytes([step]) * chance.randint(1, 900)
                mode = expected[name][1] if (node.folder / name).exists() else 0o644
                _write(node.folder, {name: content})
                expected[name] = ("file", mode, content)
            case "delete":
                if there := [name for name in COLD if (node.folder / name).exists()]:
                    name = chance.choice(there)
                    arrivals = await node.engine.arrivals()
                    pending = {entry.path for entry in arrivals.pending().values()} if arrivals else set()
                    if name not in pending:
                        (node.folder / name).unlink()
                        del expected[name]
            case "restart":
                node.restart()
            case "save":
                if await node.engine.snapshot("interval") is not None:
                    assert await _restored_elsewhere(platform, tmp_path) == expected
    await _rest(node)
    assert tree(node.folder) == expected
    await node.engine.snapshot("final")
    assert await _restored_elsewhere(platform, tmp_path) == expected
