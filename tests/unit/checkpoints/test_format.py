"""The format: everything that is written comes back, everything else is refused."""

import random
import struct
from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from gp4u_protocol.checkpoint.compressing import (
    FLAG_PLANES,
    FLAG_ZSTD,
    Compressor,
    Decompressor,
    DoesNotExpand,
)
from gp4u_protocol.checkpoint.errors import Damaged, Unrepresentable
from gp4u_protocol.checkpoint.limits import KIB
from gp4u_protocol.checkpoint.manifest import (
    HOLE,
    Entry,
    EntryKind,
    Manifest,
    Trigger,
    fault_of,
    is_safe_path,
    is_safe_target,
    open_manifest,
    seal_manifest,
)
from gp4u_protocol.checkpoint.packing import Pack
from gp4u_protocol.checkpoint.reading import RANGE_BYTES_MAX, plan_reads
from gp4u_protocol.checkpoint.sealing import ChunkPlace, JobKeys, Opener, Sealer
from hypothesis import given, settings
from hypothesis import strategies as st

KEYS = JobKeys.derive("job_1", bytes(32))
BLOCK = 256 * KIB
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Sound manifests of every shape."""
    packs = {bytes([number]) * 16: 20_000_000 for number in range(draw(st.integers(1, 3)))}
    pack_ids = sorted(packs)
    chunks = tuple(
        ChunkPlace(
            draw(st.binary(min_size=32, max_size=32)), draw(st.sampled_from(pack_ids)),
            draw(st.integers(0, 10_000_000)), draw(st.integers(17, 300_000)), BLOCK, draw(st.integers(0, 1)),
        )
        for _ in range(draw(st.integers(1, 6)))
    )  # fmt: skip
    entries: list[Entry] = []
    names = draw(st.lists(NAMES.filter(lambda name: name not in (".", "..")), unique=True, max_size=6))
    folder = ""
    for name in names:
        path = f"{folder}{name}"
        if not is_safe_path(path):
            continue
        kind = draw(st.sampled_from(list(EntryKind)))
        mode, mtime_ns = draw(st.integers(0, 0o777)), draw(st.integers(-(1 << 62), 1 << 62))
        if kind is EntryKind.FILE:
            blocks = draw(st.lists(st.integers(-1, len(chunks) - 1), max_size=5))
            size = len(blocks) * BLOCK
            by_content = HOLE not in blocks and draw(st.booleans())
            entries.append(
                Entry(path=path, kind=kind, mode=mode, mtime_ns=mtime_ns, size=size,
                      block=BLOCK if size and not by_content else 0, chunks=blocks)
            )  # fmt: skip
        elif kind is EntryKind.SYMLINK:
            entries.append(Entry(path=path, kind=kind, mode=0o777, mtime_ns=mtime_ns, target="x"))
        else:
            entries.append(Entry(path=path, kind=kind, mode=mode, mtime_ns=mtime_ns))
            folder = f"{path}/" if draw(st.booleans()) else folder
    return Manifest(
        "job_1", draw(st.integers(1, 1 << 40)), draw(st.integers(1, 1 << 40)), draw(st.sampled_from(Trigger)),
        draw(st.none() | st.integers(0, 1 << 50)), datetime(2026, 1, 1, tzinfo=UTC), tuple(entries), chunks, packs,
    )  # fmt: skip


@given(manifests())
@settings(max_examples=150, deadline=None)
def test_a_manifest_comes_back_as_it_was(manifest: Manifest) -> None:
    assert fault_of(manifest) is None
    sealed = seal_manifest(manifest, KEYS)
    opened = open_manifest(
        sealed.content, KEYS, epoch=manifest.epoch, seq=manifest.seq, blake3_hex=sealed.blake3_hex
    )
    assert opened == manifest


@given(st.lists(st.binary(max_size=4096) | st.just(b"ab" * 40_000), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_chunks_come_back_as_they_were(blocks: list[bytes]) -> None:
    pack = Pack.start(KEYS)
    sealer = Sealer(KEYS)
    blocks = [block for block in blocks if block] or [b"x"]
    places = [pack.add(sealer, KEYS.chunk_id(block), block) for block in blocks]
    content = pack.content()
    assert len(content) == pack.size_bytes
    opener = Opener(KEYS)
    for block, place in zip(blocks, places, strict=True):
        assert opener.open(place, content[place.offset : place.offset + place.stored_bytes]) == block


def _numbers(kind: str, count: int, offset: int) -> bytes:
    """Weights as a network has them, `offset` bytes away from where numbers are aligned."""
    chance = random.Random(offset)
    if kind == "bf16":
        packed = b"".join(struct.pack("<f", chance.gauss(0, 0.02))[2:] for _ in range(count))
    else:
        packed = struct.pack(f"<{count}{kind}", *(chance.gauss(0, 0.02) for _ in range(count)))
    return bytes(offset) + packed[: len(packed) - offset]


@pytest.mark.parametrize(("kind", "gain"), [("f", 1.15), ("bf16", 1.35), ("e", 1.12)])
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_numbers_are_compressed_by_planes_wherever_they_begin(kind: str, gain: float, offset: int) -> None:
    plain = _numbers(kind, 70_000, offset)
    packed, flags = Compressor().shrink(plain)
    assert flags == FLAG_PLANES
    assert len(plain) / len(packed) > gain
    assert bytes(Decompressor().expand(packed, flags, len(plain))) == plain


def test_text_is_compressed_as_a_whole_and_noise_not_at_all() -> None:
    text = b"step 17 loss 0.25 accuracy 0.9\n" * 4000
    assert Compressor().shrink(text)[1] == FLAG_ZSTD
    noise = random.Random(1).randbytes(200_000)
    packed, flags = Compressor().shrink(noise)
    assert flags == 0
    assert packed is noise


@given(st.binary(max_size=200), st.integers(0, 7), st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_what_no_compressor_made_is_refused_or_expands_to_the_length_that_was_named(
    packed: bytes, flags: int, plain_bytes: int
) -> None:
    try:
        plain = Decompressor().expand(packed, flags, plain_bytes)
    except DoesNotExpand:
        return
    assert flags == 0 or len(plain) <= plain_bytes


def test_planes_that_were_cut_short_or_made_longer_are_refused() -> None:
    plain = _numbers("f", 70_000, 0)
    packed, flags = Compressor().shrink(plain)
    for broken in (bytes(packed)[:-1], bytes(packed) + b"x", bytes(packed)[:16], b""):
        with pytest.raises(DoesNotExpand):
            Decompressor().expand(broken, flags, len(plain))
    with pytest.raises(DoesNotExpand):
        Decompressor().expand(packed, flags, len(plain) + 4)


def test_a_manifest_of_the_version_before_is_read() -> None:
    manifest = _manifest(_file(), chunks=(CHUNK,))
    with patch("gp4u_protocol.checkpoint.manifest.VERSION", 1):
        old = seal_manifest(manifest, KEYS)
    assert open_manifest(old.content, KEYS, epoch=1, seq=1, blake3_hex=old.blake3_hex) == manifest
    with patch("gp4u_protocol.checkpoint.manifest.VERSION", 3):
        newer = seal_manifest(manifest, KEYS)
    with pytest.raises(Damaged):
        open_manifest(newer.content, KEYS, epoch=1, seq=1, blake3_hex=newer.blake3_hex)


def test_the_same_content_has_another_id_and_other_bytes_under_another_job() -> None:
    other = JobKeys.derive("job_2", bytes([1]) * 32)
    assert KEYS.chunk_id(b"same") != other.chunk_id(b"same")
    first, second = Pack.start(KEYS), Pack.start(KEYS)
    first.add(Sealer(KEYS), KEYS.chunk_id(b"same"), b"same")
    second.add(Sealer(KEYS), KEYS.chunk_id(b"same"), b"same")
    assert first.content() != second.content(), "every pack has its own key"


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b", "x" * 1025, "\udcff"]
)
def test_paths_that_could_leave_the_folder_are_refused(path: str) -> None:
    assert not is_safe_path(path)


@pytest.mark.parametrize(
    ("path", "target", "safe"),
    [
        ("a", "b", True),
        ("a/b", "../c", True),
        ("a/b/c", "../../d", True),
        ("a", "..", False),
        ("a/b", "../../c", False),
        ("a", "/etc", False),
        ("a", "b/../../c", False),
        ("a", "", False),
    ],
)
def test_links_may_only_point_inside(path: str, target: str, safe: bool) -> None:
    assert is_safe_target(path, target) is safe


def _manifest(*entries: Entry, chunks: tuple[ChunkPlace, ...] = (), packs: int = 1) -> Manifest:
    sizes = {bytes([number]) * 16: 1_000_000 for number in range(packs)}
    return Manifest(
        "job_1", 1, 1, Trigger.JOB, None, datetime(2026, 1, 1, tzinfo=UTC), entries, chunks, sizes
    )


def _file(path: str = "f", size: int = BLOCK, chunks: list[int] | None = None) -> Entry:
    return Entry(
        path=path,
        kind=EntryKind.FILE,
        mode=0o644,
        size=size,
        block=BLOCK,
        chunks=[0] if chunks is None else chunks,
    )


def _cut(size: int, chunks: list[int]) -> Entry:
    """A file that was cut by its content."""
    return Entry(path="f", kind=EntryKind.FILE, mode=0o644, size=size, block=0, chunks=chunks)


CHUNK = ChunkPlace(bytes(32), bytes(16), 0, 1000, BLOCK, 0)
FOLDER = Entry(path="d", kind=EntryKind.DIRECTORY, mode=0o755)
LINK = Entry(path="l", kind=EntryKind.SYMLINK, mode=0o777, target="d")


@pytest.mark.parametrize(
    ("manifest", "fault"),
    [
        (_manifest(_file("../f"), chunks=(CHUNK,)), "leaves"),
        (_manifest(_file(), _file(), chunks=(CHUNK,)), "twice"),
        (_manifest(_file("d/f"), chunks=(CHUNK,)), "listed before"),
        (_manifest(FOLDER, LINK, _file("l/f"), chunks=(CHUNK,)), "listed before"),
        (_manifest(_file(size=BLOCK + 1), chunks=(CHUNK,)), "add up"),
        (_manifest(_file(size=BLOCK - 1), chunks=(CHUNK,)), "wrong length"),
        (_manifest(_file(chunks=[1]), chunks=(CHUNK,)), "not in the chunk table"),
        (_manifest(_file(chunks=[-2]), chunks=(CHUNK,)), "not in the chunk table"),
        (_manifest(_file(size=0, chunks=[HOLE])), "empty file"),
        (_manifest(_cut(size=BLOCK + 1, chunks=[0]), chunks=(CHUNK,)), "add up"),
        (_manifest(_cut(size=BLOCK, chunks=[1]), chunks=(CHUNK,)), "not in the chunk table"),
        (_manifest(_cut(size=BLOCK, chunks=[0, HOLE]), chunks=(CHUNK,)), "not in the chunk table"),
        (_manifest(chunks=(ChunkPlace(bytes(32), bytes(16), 999_999, 1000, BLOCK, 0),)), "outside its pack"),
        (_manifest(chunks=(ChunkPlace(bytes(32), b"?" * 16, 0, 1000, BLOCK, 0),)), "outside its pack"),
        (_manifest(chunks=(ChunkPlace(bytes(32), bytes(16), 0, 16, BLOCK, 0),)), "impossible length"),
        (_manifest(chunks=(ChunkPlace(bytes(32), bytes(16), 0, 1000, BLOCK, 4),)), "unknown flags"),
        (_manifest(Entry(path="l", kind=EntryKind.SYMLINK, mode=0o777, target="../x")), "link that leaves"),
        (_manifest(Entry(path="l", kind=EntryKind.SYMLINK, mode=0o777)), "without a target"),
        (_manifest(Entry(path="d", kind=EntryKind.DIRECTORY, mode=0o755, size=1)), "not a file"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_neither_written_nor_read(manifest: Manifest, fault: str) -> None:
    assert fault in (fault_of(manifest) or "")
    with pytest.raises(Unrepresentable, match=fault):
        seal_manifest(manifest, KEYS)


def test_ranges_cover_each_needed_chunk_once() -> None:
    pack = Pack.start(KEYS)
    sealer = Sealer(KEYS)
    blocks = [number.to_bytes(4, "big") * (BLOCK // 4) for number in range(1, 40)]
    chunks = tuple(pack.add(sealer, KEYS.chunk_id(block), block) for block in blocks)
    entry = _file(size=BLOCK * 3, chunks=[5, 5, 30])
    manifest = Manifest(
        "job_1", 1, 1, Trigger.JOB, None, datetime(2026, 1, 1, tzinfo=UTC), (entry,), chunks,
        {pack.pack_id: pack.size_bytes},
    )  # fmt: skip
    reads = plan_reads(manifest)
    assert all(read.end - read.start <= RANGE_BYTES_MAX for read in reads)
    seen = [(place.chunk_id, len(targets)) for read in reads for place, targets in read.chunks]
    assert sorted(seen) == sorted([(chunks[5].chunk_id, 2), (chunks[30].chunk_id, 1)])


def test_a_range_of_the_wrong_length_is_damage() -> None:
    pack = Pack.start(KEYS)
    place = pack.add(Sealer(KEYS), KEYS.chunk_id(b"x" * 10), b"x" * 10)
    manifest = Manifest(
        "job_1", 1, 1, Trigger.JOB, None, datetime(2026, 1, 1, tzinfo=UTC),
        (Entry(path="f", kind=EntryKind.FILE, mode=0o644, size=10, block=BLOCK, chunks=[0]),), (place,),
        {pack.pack_id: pack.size_bytes},
    )  # fmt: skip
    (read,) = plan_reads(manifest)
    with pytest.raises(Damaged):
        list(read.pieces(pack.content()[:-1]))
