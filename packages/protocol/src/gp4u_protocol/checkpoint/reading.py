"""From a manifest back to files: which ranges of which packs to read, and a staging folder that takes the blocks.

The caller brings the bytes (by HTTP, asynchronously or not); everything that decides lies here, so that the agent's restore
and the renter's `get` and `verify` cannot differ.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.limits import KIB, MIB
from gp4u_protocol.checkpoint.manifest import HOLE, Entry, EntryKind, Manifest
from gp4u_protocol.checkpoint.sealing import Buffer, ChunkPlace, Opener

RANGE_BYTES_MAX = 4 * MIB
RANGE_GAP_BYTES_MAX = 64 * KIB


@dataclass(frozen=True)
class Target:
    """A place in a file that a chunk fills: number of the entry, byte offset."""

    entry: int
    offset: int


@dataclass(frozen=True)
class RangeRead:
    """One ranged read: bytes `start` to `end` (exclusive) of a pack, and the chunks that lie in it."""

    pack_id: bytes
    start: int
    end: int
    chunks: tuple[tuple[ChunkPlace, tuple[Target, ...]], ...]

    def pieces(
        self, content: bytes | bytearray
    ) -> Iterator[tuple[ChunkPlace, tuple[Target, ...], memoryview]]:
        """Each chunk with its stored bytes. Raises Damaged when `content` is not the whole range."""
        if len(content) != self.end - self.start:
            where = f"pack {self.pack_id.hex()} at {self.start}"
            raise Damaged(where, f"{len(content)} bytes instead of {self.end - self.start}")
        view = memoryview(content)
        for place, targets in self.chunks:
            begin = place.offset - self.start
            yield place, targets, view[begin : begin + place.stored_bytes]


def plan_reads(manifest: Manifest) -> list[RangeRead]:
    """The fewest ranged reads that bring every chunk a file needs, each chunk once, packs in order."""
    targets: dict[int, list[Target]] = defaultdict(list)
    for number, entry in enumerate(manifest.entries):
        for offset, chunk in zip(entry.offsets(manifest.chunks), entry.chunks, strict=True):
            if chunk != HOLE:
                targets[chunk].append(Target(number, offset))
    needed = sorted(targets, key=lambda n: (manifest.chunks[n].pack_id, manifest.chunks[n].offset))
    reads: list[RangeRead] = []
    group: list[tuple[ChunkPlace, tuple[Target, ...]]] = []
    for number in needed:
        place = manifest.chunks[number]
        if group and not _extends(group[0][0], group[-1][0], place):
            reads.append(_as_read(group))
            group = []
        group.append((place, tuple(targets[number])))
    if group:
        reads.append(_as_read(group))
    return reads


def _extends(first: ChunkPlace, last: ChunkPlace, place: ChunkPlace) -> bool:
    return (
        place.pack_id == first.pack_id
        and place.offset - (last.offset + last.stored_bytes) <= RANGE_GAP_BYTES_MAX
        and place.offset + place.stored_bytes - first.offset <= RANGE_BYTES_MAX
    )


def _as_read(group: list[tuple[ChunkPlace, tuple[Target, ...]]]) -> RangeRead:
    end = max(place.offset + place.stored_bytes for place, _ in group)
    return RangeRead(group[0][0].pack_id, group[0][0].offset, end, tuple(group))


class Staging:
    """A new folder beside the wanted one, filled block by block and renamed into place when complete.

    Threads may call `take` at the same time with different ranges. Nothing of `folder` is touched before `publish`.
    """

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self._manifest = manifest
        self._folder = folder
        self._root = folder.with_name(f".{folder.name}.restoring-{os.getpid()}-{id(self):x}")

    def prepare(self) -> None:
        """Make folders, links, and every file at its full length (holes where blocks will come)."""
        self._root.mkdir(mode=0o700)
        for entry in self._manifest.entries:
            path = self._root / entry.path
            if entry.kind is EntryKind.DIRECTORY:
                path.mkdir(mode=0o700)
            elif entry.kind is EntryKind.SYMLINK:
                path.symlink_to(entry.target or "")
            else:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                try:
                    os.ftruncate(descriptor, entry.size)
                finally:
                    os.close(descriptor)

    def take(self, opener: Opener, read: RangeRead, content: bytes | bytearray) -> int:
        """Verify every chunk of a range and write it to all its places; answers plain bytes written. Raises Damaged."""
        written = 0
        descriptor, open_entry = -1, -1
        try:
            for place, targets, stored in read.pieces(content):
                plain = opener.open_view(place, stored)
                for target in targets:
                    if target.entry != open_entry:
                        if descriptor >= 0:
                            os.close(descriptor)
                            descriptor = -1
                        path = self._root / self._manifest.entries[target.entry].path
                        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
                        open_entry = target.entry
                    _write_all(descriptor, plain, target.offset)
                    written += len(plain)
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return written

    def publish(self) -> None:
        """Set modes and times, check every length, and swap the folder in; what `folder` held before is removed."""
        for entry in reversed(
            self._manifest.entries
        ):  # children before their folder: its mode may forbid writing
            self._settle(entry)
        self._root.chmod(0o755)
        if os.path.lexists(self._folder):
            aside = self._root.with_suffix(".old")
            self._folder.rename(aside)
            self._root.rename(self._folder)
            _remove(aside)
        else:
            self._root.rename(self._folder)

    def discard(self) -> None:
        """Remove what was staged. Harmless after `publish`."""
        _remove(self._root)

    def _settle(self, entry: Entry) -> None:
        path = self._root / entry.path
        if entry.kind is EntryKind.FILE:
            length = path.lstat().st_size
            if length != entry.size:
                raise Damaged(entry.path, f"restored {length} bytes instead of {entry.size}")
        if entry.kind is not EntryKind.SYMLINK:
            path.chmod(entry.mode)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)


def _write_all(descriptor: int, content: Buffer, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.exists():
        shutil.rmtree(path, onerror=_make_writable_and_retry)


def _make_writable_and_retry(function: object, path: str, _error: object) -> None:
    parent = os.path.dirname(path)
    os.chmod(parent, 0o700)
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path, ignore_errors=True)
    else:
        os.unlink(path)
