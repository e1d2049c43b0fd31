"""A checkpoint as the API hands it out, decrypted on the renter's machine; and what differs between two of one job."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.manifest import HOLE, Entry, EntryKind, Manifest, open_manifest
from gp4u_protocol.checkpoint.reading import RangeRead, plan_reads
from gp4u_protocol.checkpoint.sealing import JobKeys

from gp4u.api import ApiClient, ApiError

ADDRESS_EXPIRED = 403
ADDRESSES_REFRESHED_MAX = 100


class Source:
    """One checkpoint as the API hands it out: addresses and key. Asks for fresh addresses when they run out."""

    def __init__(self, api: ApiClient, job_id: str, checkpoint_id: str) -> None:
        self._api = api
        self._path = f"/jobs/{job_id}/checkpoints/{checkpoint_id}/download"
        self._download: dict[str, Any] = api.post(self._path)
        self.keys = JobKeys.derive(job_id, base64.b64decode(self._download["data_key"]))

    def manifest(self) -> Manifest:
        """The manifest, verified. Raises Damaged."""
        row = self._download
        content = self._get(
            f"manifest {row['epoch']}/{row['seq']}", lambda: self._download["manifest_url"], None
        )
        return open_manifest(
            content, self.keys, epoch=row["epoch"], seq=row["seq"], blake3_hex=row["manifest_blake3"]
        )

    def ranges(self, manifest: Manifest) -> Iterator[tuple[RangeRead, bytes]]:
        """Every range the files need, with its stored bytes, not yet verified. Raises Damaged for a missing pack."""
        for read in plan_reads(manifest):
            pack = read.pack_id.hex()
            if pack not in self._download["packs"]:
                raise Damaged(f"pack {pack}", "is not listed with its checkpoint")
            url = lambda pack=pack: self._download["packs"][pack]  # noqa: E731
            yield read, self._get(f"pack {pack}", url, read)

    def _get(self, where: str, url: Callable[[], str], read: RangeRead | None) -> bytes:
        for _ in range(ADDRESSES_REFRESHED_MAX):
            try:
                if read is None:
                    return self._api.get_bytes(url())
                return self._api.get_bytes(url(), read.start, read.end)
            except ApiError as error:
                if error.status in (404, 416):
                    raise Damaged(where, "is missing or too short") from error
                if error.status != ADDRESS_EXPIRED:
                    raise
            self._download = self._api.post(self._path)
        raise Damaged(where, "cannot be read: its address is refused again and again")


class Change(StrEnum):
    """What became of a path from one checkpoint to another."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"  # its content
    ATTRIBUTES = "attributes"  # its mode or its link's target only


@dataclass(frozen=True)
class Difference:
    """One path that differs. `changed_bytes`: bytes of the blocks that are not the same at the same place, in the newer
    version (for a removed file: all it had)."""

    path: str
    change: Change
    size_before: int | None
    size_after: int | None
    changed_bytes: int


def differences(before: Manifest, after: Manifest) -> list[Difference]:
    """What differs between two checkpoints of one job, by path. Times alone are no difference."""
    old = {entry.path: entry for entry in before.entries}
    new = {entry.path: entry for entry in after.entries}
    found = []
    for path in sorted(old.keys() | new.keys()):
        was, now = old.get(path), new.get(path)
        if now is None:
            assert was is not None
            found.append(Difference(path, Change.REMOVED, was.size, None, was.size))
        elif was is None or was.kind is not now.kind:
            found.append(Difference(path, Change.ADDED, None, now.size, now.size))
        else:
            blocks_before, blocks_after = _blocks(was, before), _blocks(now, after)
            if blocks_before != blocks_after or was.size != now.size:
                changed = _changed_bytes((was, before), (now, after))
                found.append(Difference(path, Change.CHANGED, was.size, now.size, changed))
            elif (was.mode, was.target) != (now.mode, now.target):
                found.append(Difference(path, Change.ATTRIBUTES, was.size, now.size, 0))
    return found


def _blocks(entry: Entry, manifest: Manifest) -> list[bytes | None]:
    if entry.kind is not EntryKind.FILE:
        return []
    return [None if number == HOLE else manifest.chunks[number].chunk_id for number in entry.chunks]


def _changed_bytes(was: tuple[Entry, Manifest], now: tuple[Entry, Manifest]) -> int:
    """Bytes of the blocks that the older file does not have: on a grid at the same place, cut by content anywhere."""
    old, entry, chunks = was[0], now[0], now[1].chunks
    if old.block != entry.block and old.chunks:
        return entry.size  # cut differently: nothing can be compared
    before, after = _blocks(*was), _blocks(*now)
    if entry.block == 0:
        known = set(before)
        return sum(
            chunks[number].plain_bytes
            for number, block in zip(entry.chunks, after, strict=True)
            if block not in known
        )
    return sum(
        entry.block_length(number)
        for number, block in enumerate(after)
        if number >= len(before) or before[number] != block
    )
