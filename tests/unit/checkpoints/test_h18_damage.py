"""H18: any change in stored bytes is detected before a job sees them; the next older checkpoint is used and reported."""

import random
from array import array
from pathlib import Path

import pytest
from gp4u_agent.checkpoint.engine import NothingRestorable
from gp4u_protocol.checkpoint.compressing import FLAG_PLANES, FLAG_ZSTD
from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.manifest import open_manifest
from gp4u_protocol.checkpoint.reading import plan_reads
from gp4u_protocol.checkpoint.sealing import JobKeys, Opener

from tests.unit.checkpoints.platform import Platform, Row
from tests.unit.checkpoints.scene import DATA_KEY, Node, tree

KEYS = JobKeys.derive("job_1", DATA_KEY)
MUTATIONS = 4000


async def _saved(tmp_path: Path, name: str = "a") -> tuple[Platform, Node]:
    platform = Platform()
    node = Node(platform, tmp_path / name)
    chance = random.Random(name)
    node.folder.mkdir()
    for step in (1, 2):
        (node.folder / "weights").write_bytes(chance.randbytes(600_000))
        (node.folder / "notes").write_text(f"step {step} " * 9000)
        (node.folder / "log").write_text(
            "".join(f"{n} {chance.random()}\n" for n in range(30_000))
        )  # cut by content
        (node.folder / "layer").write_bytes(
            array("f", (chance.gauss(0, 0.02) for _ in range(40_000))).tobytes()
        )  # planes
        (node.folder / "same length").write_bytes(chance.randbytes(1000))
        assert await node.engine.snapshot("interval", step) is not None
    return platform, node


def _read_all(platform: Platform, row: Row) -> dict[str, bytes]:
    """Everything a checkpoint holds, read as the engine and the command read it. Raises Damaged."""
    content = platform.objects[row.manifest_key]
    manifest = open_manifest(content, KEYS, epoch=row.epoch, seq=row.seq, blake3_hex=row.blake3)
    files = {entry.path: bytearray(entry.size) for entry in manifest.entries}
    opener = Opener(KEYS)
    for read in plan_reads(manifest):
        stored = platform.objects.get(f"jobs/job_1/packs/{read.pack_id.hex()}", b"")[read.start : read.end]
        for place, targets, piece in read.pieces(stored):
            plain = opener.open(place, piece)
            for target in targets:
                path = manifest.entries[target.entry].path
                files[path][target.offset : target.offset + len(plain)] = plain
    return {path: bytes(content) for path, content in files.items()}


async def test_h18_thousands_of_mutations_are_all_detected(tmp_path: Path) -> None:
    platform, _ = await _saved(tmp_path)
    row = platform.rows[-1]
    truth = _read_all(platform, row)
    manifest = open_manifest(
        platform.objects[row.manifest_key], KEYS, epoch=row.epoch, seq=row.seq, blake3_hex=row.blake3
    )
    assert {chunk.flags for chunk in manifest.chunks} == {0, FLAG_ZSTD, FLAG_PLANES}, (
        "every way to store a block"
    )
    assert {entry.block == 0 for entry in manifest.entries} == {True, False}, "both ways to cut a file"
    names = [row.manifest_key, *(f"jobs/job_1/packs/{pack}" for pack in row.packs)]
    whole = dict(platform.objects)
    chance = random.Random(18)
    detected = 0
    for number in range(MUTATIONS):
        name = names[number % len(names)]
        content = bytearray(whole[name])
        kind = chance.randrange(6)
        at = chance.randrange(len(content))
        if kind == 0:
            content[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del content[at:]
        elif kind == 2:
            del content[at]
        elif kind == 3:
            content.insert(at, chance.randrange(256))
        elif kind == 4:  # swap two stretches
            other = chance.randrange(len(content))
            length = min(64, len(content) - max(at, other))
            one, two = bytes(content[at : at + length]), bytes(content[other : other + length])
            content[at : at + length], content[other : other + length] = two, one
        else:
            content[at:] = chance.randbytes(len(content) - at)
        if bytes(content) == whole[name]:
            detected += 1  # nothing was changed: nothing to detect
            continue
        platform.objects[name] = bytes(content)
        try:
            assert _read_all(platform, row) == truth, "changed bytes reached the job"
            assert kind == 3, "only bytes behind the last chunk may be added without effect"
            detected += 1
        except Damaged:
            detected += 1
        platform.objects[name] = whole[name]
    assert detected == MUTATIONS


async def test_h18_chunks_cannot_change_places(tmp_path: Path) -> None:
    platform, _ = await _saved(tmp_path)
    row = platform.rows[-1]
    manifest = open_manifest(
        platform.objects[row.manifest_key], KEYS, epoch=row.epoch, seq=row.seq, blake3_hex=row.blake3
    )
    opener = Opener(KEYS)
    moved = same_length = 0
    for one in manifest.chunks:
        for two in manifest.chunks:
            stored = platform.objects[f"jobs/job_1/packs/{two.pack_id.hex()}"]
            piece = stored[two.offset : two.offset + two.stored_bytes]
            if one is not two:
                with pytest.raises(Damaged):
                    opener.open(one, piece)
                moved += 1
                same_length += one.stored_bytes == two.stored_bytes
    assert moved >= 6
    assert same_length >= 2, "chunks of the same stored length were among them"


async def test_h18_a_chunk_or_manifest_of_another_job_does_not_open(tmp_path: Path) -> None:
    platform, _ = await _saved(tmp_path)
    row = platform.rows[-1]
    content = platform.objects[row.manifest_key]
    for keys in (JobKeys.derive("job_2", DATA_KEY), JobKeys.derive("job_1", bytes(32))):
        with pytest.raises(Damaged):
            open_manifest(content, keys, epoch=row.epoch, seq=row.seq, blake3_hex=row.blake3)
        manifest = open_manifest(content, KEYS, epoch=row.epoch, seq=row.seq, blake3_hex=row.blake3)
        for place in manifest.chunks:
            stored = platform.objects[f"jobs/job_1/packs/{place.pack_id.hex()}"]
            with pytest.raises(Damaged):
                Opener(keys).open(place, stored[place.offset : place.offset + place.stored_bytes])


async def test_h18_an_old_manifest_put_back_is_refused(tmp_path: Path) -> None:
    platform, _ = await _saved(tmp_path)
    old, new = platform.rows
    content = platform.objects[old.manifest_key]
    with pytest.raises(Damaged, match="hash"):
        open_manifest(content, KEYS, epoch=new.epoch, seq=new.seq, blake3_hex=new.blake3)
    # Even when the row's hash is changed with it, epoch and number are sealed into the manifest.
    with pytest.raises(Damaged, match="does not open"):
        open_manifest(content, KEYS, epoch=new.epoch, seq=new.seq, blake3_hex=old.blake3)


@pytest.mark.parametrize("what", ["manifest", "pack", "manifest gone", "pack gone", "pack cut"])
async def test_h18_the_next_older_checkpoint_is_used_and_the_damage_reported(
    tmp_path: Path, what: str
) -> None:
    platform, _ = await _saved(tmp_path)
    old, new = platform.rows
    only_new = next(pack for pack in new.packs if pack not in old.packs)
    name = new.manifest_key if "manifest" in what else f"jobs/job_1/packs/{only_new}"
    content = platform.objects.pop(name)
    if "gone" not in what:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        platform.objects[name] = content[:middle] if "cut" in what else flipped
    other = Node(platform, tmp_path / "other")
    restored = await other.engine.restore()
    assert (restored.checkpoint_id, restored.step) == (old.id, 1)
    assert restored.damaged == (new.id,)
    assert platform.damaged == [new.id]
    assert (other.folder / "notes").read_text() == "step 1 " * 9000
    assert [path.name for path in other.folder.parent.iterdir()] == ["ckpt"], "nothing staged is left"
    # What the next snapshot builds on is the one that verified.
    (other.folder / "notes").write_text("step 3")
    assert await other.engine.snapshot("interval", 3) is not None
    third = Node(platform, tmp_path / "third")
    assert (await third.engine.restore()).step == 3
    assert tree(third.folder) == tree(other.folder)


async def test_h18_when_all_are_damaged_the_job_does_not_start_from_nothing(tmp_path: Path) -> None:
    platform, _ = await _saved(tmp_path)
    for row in platform.rows:
        platform.objects[row.manifest_key] = b"rubbish"
    other = Node(platform, tmp_path / "other")
    (other.folder).mkdir()
    (other.folder / "sent").write_text("with the job")
    with pytest.raises(NothingRestorable):
        await other.engine.restore()
    assert set(tree(other.folder)) == {"sent"}
    assert len(platform.damaged) == 2
