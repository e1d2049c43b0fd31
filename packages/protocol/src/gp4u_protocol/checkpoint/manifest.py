"""The manifest: what a checkpoint holds, complete and self-contained, and its sealed form.

Reading trusts nothing: `open_manifest` either answers a manifest whose every rule holds or raises Damaged.
"""

import json
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import accumulate
from typing import Any

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gp4u_protocol.checkpoint.compressing import FLAGS_KNOWN
from gp4u_protocol.checkpoint.errors import Damaged, Unrepresentable
from gp4u_protocol.checkpoint.limits import (
    CHUNK_BYTES_MAX,
    ENTRIES_MAX,
    MANIFEST_BODY_BYTES_MAX,
    MANIFEST_BYTES_MAX,
    PACK_BYTES_MAX,
    PACKS_MAX,
    PATH_BYTES_MAX,
)
from gp4u_protocol.checkpoint.sealing import PACK_ID_BYTES, TAG_BYTES, ChunkPlace, JobKeys

MAGIC = b"GP4UCM01"
VERSION = 2
"""1 had neither files cut by their content nor blocks compressed by planes; it is read as well."""
_VERSIONS_READ = (1, 2)
SALT_BYTES = 16
HOLE = -1
"""Stands in a file's list of chunks for a block of zeros, which is not stored."""
_ROW = struct.Struct("<32sIIIIB")


class EntryKind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class Trigger(StrEnum):
    """Why a checkpoint was taken."""

    JOB = "job"  # the job asked for it
    INTERVAL = "interval"
    FINAL = "final"  # before a stop, or after the job's own end


class Entry(BaseModel):
    """One file, directory or symbolic link, by its path relative to the checkpoint folder.

    `block`: length of a file's blocks on a grid; 0: cut by its content, and the chunk table has each block's length.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    kind: EntryKind
    mode: int = Field(ge=0, le=0o777)
    mtime_ns: int = 0
    size: int = Field(default=0, ge=0, le=1 << 62)
    block: int = Field(default=0, ge=0, le=CHUNK_BYTES_MAX)
    chunks: list[int] = []
    target: str | None = None

    def block_length(self, number: int) -> int:
        """Plain bytes of the `number`-th block of a grid; only the last may be short."""
        return min(self.block, self.size - number * self.block)

    def offsets(self, chunks: Sequence[ChunkPlace]) -> Iterator[int]:
        """Where each of its blocks begins in the file; `chunks` is the manifest's table."""
        if self.block:
            yield from range(0, self.size, self.block)
        elif self.chunks:
            yield from accumulate((chunks[number].plain_bytes for number in self.chunks[:-1]), initial=0)


@dataclass(frozen=True)
class Manifest:
    """A checkpoint's whole content. `chunks` are numbered by their position; entries refer to those numbers."""

    job_id: str
    epoch: int
    seq: int
    trigger: Trigger
    step: int | None
    created_at: datetime
    entries: tuple[Entry, ...]
    chunks: tuple[ChunkPlace, ...]
    pack_sizes: dict[bytes, int]

    @property
    def files(self) -> int:
        """How many regular files it holds."""
        return sum(entry.kind is EntryKind.FILE for entry in self.entries)

    @property
    def size_bytes(self) -> int:
        """Plain bytes of all files."""
        return sum(entry.size for entry in self.entries)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    job_id: str
    epoch: int
    seq: int
    trigger: Trigger
    step: int | None
    created_at: datetime
    packs: list[tuple[str, int]] = Field(max_length=PACKS_MAX)
    entries: list[Entry] = Field(max_length=ENTRIES_MAX)


@dataclass(frozen=True)
class SealedManifest:
    """A manifest as the store has it; `blake3_hex` goes into the row."""

    content: bytes
    blake3_hex: str


def seal_manifest(manifest: Manifest, keys: JobKeys) -> SealedManifest:
    """Compress, encrypt, authenticate. Raises Unrepresentable when a rule of the format does not hold."""
    fault = fault_of(manifest)
    if fault is not None:
        raise Unrepresentable(fault)
    pack_ids = list(manifest.pack_sizes)
    number_of = {pack_id: number for number, pack_id in enumerate(pack_ids)}
    header = {
        "version": VERSION,
        "job_id": manifest.job_id,
        "epoch": manifest.epoch,
        "seq": manifest.seq,
        "trigger": manifest.trigger,
        "step": manifest.step,
        "created_at": manifest.created_at.isoformat(),
        "packs": [[pack_id.hex(), manifest.pack_sizes[pack_id]] for pack_id in pack_ids],
        "entries": [entry.model_dump(mode="json", exclude_defaults=True) for entry in manifest.entries],
    }
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    table = b"".join(
        _ROW.pack(c.chunk_id, number_of[c.pack_id], c.offset, c.stored_bytes, c.plain_bytes, c.flags)
        for c in manifest.chunks
    )
    body = struct.pack("<I", len(encoded)) + encoded + table
    salt = secrets.token_bytes(SALT_BYTES)
    associated = _associated_data(salt, manifest.job_id, manifest.epoch, manifest.seq)
    packed = zstandard.ZstdCompressor(level=1).compress(body)
    content = MAGIC + salt + keys.manifest_cipher(salt).encrypt(bytes(12), packed, associated)
    if len(content) > MANIFEST_BYTES_MAX or len(body) > MANIFEST_BODY_BYTES_MAX:
        raise Unrepresentable("the list of files is too large for one checkpoint")
    return SealedManifest(content, blake3(content).hexdigest())


def open_manifest(content: bytes, keys: JobKeys, *, epoch: int, seq: int, blake3_hex: str) -> Manifest:
    """The manifest that the row (`epoch`, `seq`, `blake3_hex`) of this job names. Raises Damaged."""
    where = f"manifest {epoch}/{seq}"
    if len(content) > MANIFEST_BYTES_MAX or len(content) < len(MAGIC) + SALT_BYTES + TAG_BYTES:
        raise Damaged(where, f"has {len(content)} bytes")
    if blake3(content).hexdigest() != blake3_hex:
        raise Damaged(where, "differs from the hash in its row")
    if content[: len(MAGIC)] != MAGIC:
        raise Damaged(where, "is not a manifest of a version that is known here")
    salt = content[len(MAGIC) : len(MAGIC) + SALT_BYTES]
    associated = _associated_data(salt, keys.job_id, epoch, seq)
    try:
        packed = keys.manifest_cipher(salt).decrypt(bytes(12), content[len(MAGIC) + SALT_BYTES :], associated)
        body = zstandard.ZstdDecompressor().decompress(packed, max_output_size=MANIFEST_BODY_BYTES_MAX)
        manifest = _decode(body)
    except (InvalidTag, zstandard.ZstdError) as error:
        raise Damaged(where, "does not open: changed, or of another job, epoch or sequence") from error
    except (ValidationError, ValueError, struct.error, IndexError) as error:
        raise Damaged(where, "opens but breaks the format") from error
    if (manifest.job_id, manifest.epoch, manifest.seq) != (keys.job_id, epoch, seq):
        raise Damaged(where, "names another job, epoch or sequence")
    fault = fault_of(manifest)
    if fault is not None:
        raise Damaged(where, fault)
    return manifest


def _associated_data(salt: bytes, job_id: str, epoch: int, seq: int) -> bytes:
    job = job_id.encode()
    return MAGIC + salt + struct.pack("<H", len(job)) + job + struct.pack("<QQ", epoch, seq)


def _decode(body: bytes) -> Manifest:
    (header_bytes,) = struct.unpack_from("<I", body)
    raw: Any = json.loads(body[4 : 4 + header_bytes])
    header = _Header.model_validate(raw)
    if header.version not in _VERSIONS_READ:
        raise ValueError("unknown version")
    pack_ids = [bytes.fromhex(pack_id) for pack_id, _ in header.packs]
    if len(set(pack_ids)) != len(pack_ids):
        raise ValueError("a pack is listed twice")
    table = memoryview(body)[4 + header_bytes :]
    chunks = tuple(
        ChunkPlace(chunk_id, pack_ids[pack], offset, stored, plain, flags)
        for chunk_id, pack, offset, stored, plain, flags in _ROW.iter_unpack(table)
    )
    return Manifest(
        job_id=header.job_id,
        epoch=header.epoch,
        seq=header.seq,
        trigger=header.trigger,
        step=header.step,
        created_at=header.created_at,
        entries=tuple(header.entries),
        chunks=chunks,
        pack_sizes={pack_id: size for pack_id, (_, size) in zip(pack_ids, header.packs, strict=True)},
    )


def fault_of(manifest: Manifest) -> str | None:
    """The first rule of the format that `manifest` breaks, in words; None when it is sound."""
    if len(manifest.entries) > ENTRIES_MAX:
        return f"more than {ENTRIES_MAX} files and folders"
    if len(manifest.pack_sizes) > PACKS_MAX:
        return f"more than {PACKS_MAX} packs"
    return _fault_of_chunks(manifest) or _fault_of_entries(manifest.entries, manifest.chunks)


def _fault_of_chunks(manifest: Manifest) -> str | None:
    for pack_id, size in manifest.pack_sizes.items():
        if len(pack_id) != PACK_ID_BYTES or not 0 < size <= PACK_BYTES_MAX:
            return "a pack with an impossible id or length"
    for chunk in manifest.chunks:
        pack_size = manifest.pack_sizes.get(chunk.pack_id)
        if pack_size is None or chunk.offset + chunk.stored_bytes > pack_size:
            return "a chunk outside its pack"
        if not 0 < chunk.plain_bytes <= CHUNK_BYTES_MAX or chunk.stored_bytes <= TAG_BYTES:
            return "a chunk of an impossible length"
        if chunk.flags & ~FLAGS_KNOWN:
            return "a chunk with unknown flags"
    return None


def _fault_of_entries(entries: Iterable[Entry], chunks: tuple[ChunkPlace, ...]) -> str | None:
    kinds: dict[str, EntryKind] = {}
    for entry in entries:
        if not is_safe_path(entry.path):
            return "a path that leaves the folder or is malformed"
        if entry.path in kinds:
            return "a path that appears twice"
        parent = entry.path.rpartition("/")[0]
        if parent and kinds.get(parent) is not EntryKind.DIRECTORY:
            return "an entry whose folder is not listed before it"
        kinds[entry.path] = entry.kind
        fault = _fault_of_entry(entry, chunks)
        if fault is not None:
            return fault
    return None


def _fault_of_entry(entry: Entry, chunks: tuple[ChunkPlace, ...]) -> str | None:
    if entry.kind is not EntryKind.FILE:
        if entry.size or entry.chunks or entry.block:
            return "content on something that is not a file"
        if (entry.target is not None) != (entry.kind is EntryKind.SYMLINK):
            return "a link without a target, or a target without a link"
        if entry.target is not None and not is_safe_target(entry.path, entry.target):
            return "a link that leaves the folder"
        return None
    if entry.target is not None:
        return "a target on a file"
    if entry.size == 0:
        return "blocks on an empty file" if entry.chunks else None
    if entry.block == 0:
        return _fault_of_cuts(entry, chunks)
    if len(entry.chunks) != -(-entry.size // entry.block):
        return "blocks that do not add up to the file"
    last = len(entry.chunks) - 1
    for number, chunk in enumerate(entry.chunks):
        if chunk == HOLE:
            continue
        if not 0 <= chunk < len(chunks):
            return "a block that is not in the chunk table"
        length = entry.block if number != last else entry.block_length(number)
        if chunks[chunk].plain_bytes != length:
            return "a block of the wrong length"
    return None


def _fault_of_cuts(entry: Entry, chunks: tuple[ChunkPlace, ...]) -> str | None:
    if not all(0 <= number < len(chunks) for number in entry.chunks):
        return "a block that is not in the chunk table"
    if sum(chunks[number].plain_bytes for number in entry.chunks) != entry.size:
        return "blocks that do not add up to the file"
    return None


def is_safe_path(path: str) -> bool:
    """Whether `path` is relative, normal and UTF-8, so that it can only name something inside the folder."""
    if not _fits(path):
        return False
    return all(part not in ("", ".", "..") for part in path.split("/"))


def is_safe_target(path: str, target: str) -> bool:
    """Whether a symbolic link at `path` to `target` stays inside the folder, read as text (no link is followed)."""
    if not _fits(target) or target.startswith("/"):
        return False
    depth = path.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return False
    return True


def _fits(path: str) -> bool:
    try:
        encoded = path.encode()
    except UnicodeEncodeError:  # a name that is not UTF-8, as os.scandir hands it over
        return False
    return 0 < len(encoded) <= PATH_BYTES_MAX and b"\0" not in encoded
