"""Snapshots and restores of whole folders."""

import os
import random
from pathlib import Path

import pytest
from gp4u_agent.checkpoint.engine import NothingRestorable
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.walking import Signature
from gp4u_agent.http import StaleEpoch
from gp4u_protocol.checkpoint.manifest import Trigger
from gp4u_protocol.messages import RestorePoint

from tests.unit.checkpoints.platform import Platform
from tests.unit.checkpoints.scene import Node, placement, tree


def fill(folder: Path, seed: int = 1) -> None:
    """A folder with everything that a checkpoint must bring back."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(chance.randbytes(3_000_001))
    (folder / "empty").touch()
    (folder / "text.json").write_text('{"a": 1}' * 50_000)
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "ünï — 文件 🙂.bin").write_bytes(chance.randbytes(100))
    (folder / "nothing here").mkdir()
    (folder / "run.sh").write_text("true")
    (folder / "run.sh").chmod(0o750)
    (folder / "private").write_text("x")
    (folder / "private").chmod(0o600)
    (folder / "latest").symlink_to("deep/er")
    (folder / "deep" / "up").symlink_to("../weights.bin")
    (folder / "zeros").write_bytes(bytes(1_000_000))
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 34)
        file.seek(1 << 33)
        file.write(b"in the middle of nowhere")


async def test_a_folder_comes_back_byte_for_byte_on_another_node(tmp_path: Path) -> None:
    platform = Platform()
    first = Node(platform, tmp_path / "a")
    assert (await first.engine.restore()).checkpoint_id is None
    fill(first.folder)
    (first.folder / "sparse").unlink()
    result = await first.engine.snapshot(Trigger.INTERVAL, step=7)
    assert result is not None
    assert (result.epoch, result.seq, result.step, result.files) == (1, 1, 7, 7)
    platform.epoch = 2
    second = Node(platform, tmp_path / "b", epoch=2)
    restored = await second.engine.restore()
    assert (restored.checkpoint_id, restored.seq, restored.step) == (result.checkpoint_id, 1, 7)
    assert tree(second.folder) == tree(first.folder)
    assert await second.engine.snapshot(Trigger.INTERVAL) is None, "nothing changed since it was restored"


async def test_a_sparse_file_stays_sparse_and_stores_only_its_data(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    fill(node.folder)
    result = await node.engine.snapshot("interval")
    assert result is not None
    assert result.size_bytes > 1 << 34
    assert result.stored_bytes < 5_000_000
    other = Node(platform, tmp_path / "b")
    await other.engine.restore()
    status = (other.folder / "sparse").stat()
    assert status.st_size == 1 << 34
    assert status.st_blocks * 512 < 8 << 20
    with (other.folder / "sparse").open("rb") as file:
        file.seek(1 << 33)
        assert file.read(24) == b"in the middle of nowhere"


async def test_only_what_changed_is_stored_again(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path)
    node.folder.mkdir()
    content = bytearray(random.Random(1).randbytes(32 << 20))
    (node.folder / "weights").write_bytes(content)
    (node.folder / "untouched").write_bytes(random.Random(2).randbytes(1 << 20))
    first = await node.engine.snapshot("interval")
    assert first is not None
    assert first.stored_bytes > 33 << 20
    content[5 << 20] ^= 1
    (node.folder / "weights").write_bytes(content)
    second = await node.engine.snapshot("interval")
    assert second is not None
    assert second.stored_bytes < 300_000, "one block of 256 KiB"
    assert second.read_bytes == 32 << 20, "the untouched file is not even read"
    assert await node.engine.snapshot("interval") is None


@pytest.mark.parametrize("verify", [False, True])
async def test_a_change_that_leaves_no_trace_is_found_by_those_who_verify(
    tmp_path: Path, verify: bool
) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a", verify=verify)
    node.folder.mkdir()
    weights = node.folder / "weights"
    weights.write_bytes(bytes(range(256)) * 4000)
    assert await node.engine.snapshot("interval") is not None
    # As a clock that stands still, or a device that changes bytes below the file system: all that is looked at is the same.
    known = node.engine._known
    assert known is not None
    weights.write_bytes(bytes(range(1, 256)) * 4000 + bytes(4000))
    known.signatures["weights"] = Signature.of(weights.stat())  # type: ignore[index]
    assert (await node.engine.snapshot("interval") is not None) is verify
    assert await node.engine.snapshot("interval") is None


async def test_text_with_an_insertion_stores_what_was_inserted_and_comes_back(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    node.folder.mkdir()
    chance = random.Random(4)
    lines = [f"step {n} loss {chance.random():.6f} rate {chance.random():.6f}\n" for n in range(250_000)]
    (node.folder / "metrics.jsonl").write_text("".join(lines))
    first = await node.engine.snapshot("interval")
    assert first is not None
    lines.insert(1000, "a line that moves everything behind it\n")
    (node.folder / "metrics.jsonl").write_text("".join(lines))
    second = await node.engine.snapshot("interval")
    assert second is not None
    assert second.stored_bytes < first.stored_bytes / 10, "a grid would store all but the beginning"
    other = Node(platform, tmp_path / "b")
    await other.engine.restore()
    assert (other.folder / "metrics.jsonl").read_text() == "".join(lines)
    # Once cut by content, always: or the next version would share nothing with it.
    (other.folder / "metrics.jsonl").write_bytes(random.Random(5).randbytes(1 << 20))
    await other.engine.snapshot("interval")
    third = Node(platform, tmp_path / "c")
    await third.engine.restore()
    assert tree(third.folder) == tree(other.folder)


async def test_two_files_with_the_same_content_are_stored_once(tmp_path: Path) -> None:
    node = Node(Platform(), tmp_path)
    node.folder.mkdir()
    for name in "abc":
        (node.folder / name).write_bytes(random.Random(3).randbytes(5 << 20))
    result = await node.engine.snapshot("interval")
    assert result is not None
    assert result.stored_bytes < 6 << 20


async def test_text_is_compressed(tmp_path: Path) -> None:
    node = Node(Platform(), tmp_path)
    node.folder.mkdir()
    (node.folder / "log").write_text("loss 0.125\n" * 500_000)
    result = await node.engine.snapshot("interval")
    assert result is not None
    assert result.stored_bytes * 20 < result.size_bytes


async def test_a_restarted_agent_goes_on_from_its_own_memory(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path)
    fill(node.folder)
    assert await node.engine.snapshot("interval") is not None
    node.restart()
    reads = sum(call.startswith("READ") for call in platform.calls)
    assert await node.engine.snapshot("interval") is None
    assert sum(call.startswith("READ") for call in platform.calls) == reads, "the manifest was on disk"
    (node.root / "cache" / "newest.manifest").write_bytes(b"rubbish")
    node.restart()
    assert await node.engine.snapshot("interval") is None, "fetched again when the memory is damaged"


async def test_restore_replaces_what_was_there(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    node.folder.mkdir()
    (node.folder / "a").write_text("saved")
    await node.engine.snapshot("interval")
    other = Node(platform, tmp_path / "b")
    other.folder.mkdir()
    (other.folder / "sent with the job").write_text("old")
    await other.engine.restore()
    assert tree(other.folder) == tree(node.folder)
    assert [path.name for path in other.folder.parent.iterdir()] == ["ckpt"], "nothing is left beside it"


async def test_links_that_leave_the_folder_are_left_out(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the owner's")
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    node.folder.mkdir()
    (node.folder / "inside").write_text("x")
    (node.folder / "absolute").symlink_to(secret)
    (node.folder / "climbing").symlink_to("../../../secret")
    os.mkfifo(node.folder / "pipe")
    result = await node.engine.snapshot("interval")
    assert result is not None
    assert set(result.left_out) == {"absolute", "climbing", "pipe"}
    other = Node(platform, tmp_path / "b")
    await other.engine.restore()
    assert set(tree(other.folder)) == {"inside"}


async def test_a_checkpoint_folder_that_is_a_link_is_never_followed(tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "key").write_text("the owner's")
    node = Node(Platform(), tmp_path / "a")
    node.folder.symlink_to(treasure)
    with pytest.raises(OSError):
        await node.engine.snapshot("interval")
    with pytest.raises(OSError):
        await node.engine.restore()
    assert [path.name for path in treasure.iterdir()] == ["key"]


async def test_names_that_are_not_utf8_are_left_out_and_named(tmp_path: Path) -> None:
    node = Node(Platform(), tmp_path)
    node.folder.mkdir()
    (node.folder / "good").write_text("x")
    with open(os.fsencode(node.folder) + b"/bad\xff", "wb"):
        pass
    result = await node.engine.snapshot("interval")
    assert result is not None
    assert result.left_out == ("bad\\udcff",)


async def test_thousands_of_small_files(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    for number in range(3000):
        path = node.folder / f"{number % 30:02}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(4, "big") * (number % 50))
    result = await node.engine.snapshot("interval")
    assert result is not None
    assert result.files == 3000
    other = Node(platform, tmp_path / "b")
    await other.engine.restore()
    assert tree(other.folder) == tree(node.folder)


async def test_files_that_vanish_while_the_folder_is_read(tmp_path: Path) -> None:
    node = Node(Platform(), tmp_path)
    node.folder.mkdir()
    for number in range(600):
        (node.folder / f"{number:03}").write_text(str(number))

    def remove_some() -> list[int]:  # asked between opening and reading of each group of files
        for path in list(node.folder.iterdir())[::2]:
            path.unlink()
        return []

    node.pids = remove_some
    node.restart()
    result = await node.engine.snapshot("interval")
    assert result is not None
    other = Node(node.http, tmp_path / "b")
    await other.engine.restore()
    for path in other.folder.iterdir():
        assert path.read_text() == str(int(path.name))


async def test_h20_the_newest_row_decides_what_is_restored(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path / "a")
    node.folder.mkdir()
    for step in range(1, 5):
        (node.folder / "step").write_text(str(step))
        assert await node.engine.snapshot("interval", step) is not None
    platform.epoch = 2
    # What the store lists, and in which order, means nothing: shuffle it and add a manifest that no row names.
    platform.objects = dict(sorted(platform.objects.items(), key=lambda item: item[0][::-1]))
    platform.objects["jobs/job_1/manifests/9/99-ffffffffffffffff"] = b"later, but never committed"
    random.Random(1).shuffle(platform.rows)
    newest = max(platform.rows, key=lambda row: (row.epoch, row.seq))
    spec = placement(epoch=2, restore=RestorePoint(checkpoint_id=newest.id, epoch=1, seq=newest.seq))
    other = Node(platform, tmp_path / "b", spec=spec)
    restored = await other.engine.restore()
    assert (restored.step, (other.folder / "step").read_text()) == (4, "4")


async def test_h20_a_restore_point_that_the_platform_does_not_list_is_an_error(tmp_path: Path) -> None:
    spec = placement(epoch=2, restore=RestorePoint(checkpoint_id="ckpt_9", epoch=1, seq=9))
    node = Node(Platform(epoch=2), tmp_path, spec=spec)
    with pytest.raises(NothingRestorable):
        await node.engine.restore()


async def test_h3_a_stale_engine_is_told_to_stop_and_saves_nothing(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path)
    node.folder.mkdir()
    (node.folder / "a").write_text("1")
    assert await node.engine.snapshot("interval") is not None
    platform.epoch = 2
    (node.folder / "a").write_text("2")
    with pytest.raises(StaleEpoch):
        await node.engine.snapshot("interval")
    with pytest.raises(StaleEpoch):
        await node.engine.restore()
    assert len(platform.rows) == 1
    assert (node.folder / "a").read_text() == "2"


async def test_a_failure_that_is_no_transient_one_is_not_repeated(tmp_path: Path) -> None:
    platform = Platform()

    async def refuse(when: str, name: str, number: int) -> None:
        raise HttpFailure(422, "invalid")

    platform.fault = refuse
    node = Node(platform, tmp_path)
    with pytest.raises(HttpFailure):
        await node.engine.restore()
    assert len(platform.calls) == 1
