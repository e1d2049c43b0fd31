"""Reading a folder into chunks: only finished files, only what is new, on a few threads with bounded memory.

Synchronous; the engine runs it in a thread. The rules of "finished" are those of docs/design/checkpoints.md, section 5.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from gp4u_protocol.checkpoint.limits import CHUNK_BYTES_MAX, MIB, block_bytes
from gp4u_protocol.checkpoint.manifest import HOLE, Entry, EntryKind, Manifest
from gp4u_protocol.checkpoint.packing import Pack, PackBuffers
from gp4u_protocol.checkpoint.sealing import ChunkPlace, JobKeys, Sealer

from gp4u_agent.checkpoint.cutting import FILE_BYTES_MIN, Cutter, is_cut_by_content
from gp4u_agent.checkpoint.walking import Found, Listing, Signature, list_folder, open_file
from gp4u_agent.checkpoint.writers import Writers, look

QUIET_NS = 20_000_000
"""Timestamps tick every 4 to 10 ms: two writes within one tick look the same, so a file must be quiet longer."""
QUIET_WHEN_BLIND_NS = 1_000_000_000
ROUNDS_MAX = 5
BETWEEN_ROUNDS_S = 0.05
FILES_A_GROUP = 256
SEGMENT_BYTES = 8 * MIB
WORKERS_MAX = 4
_CLOCK_REALTIME_COARSE = 5  # Linux; the time module has no name for it
_ZEROS = bytes(CHUNK_BYTES_MAX)

Upload = Callable[[Pack], None]
"""Takes a full pack and its buffer over; blocks while too many are on their way; raises when an upload failed."""


class Stopped(Exception):
    """The snapshot was abandoned."""


@dataclass
class Known:
    """What the previous checkpoint of this job holds, as far as this node knows."""

    manifest: Manifest | None = None
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    by_path: Mapping[str, Entry] = field(init=False)

    def __post_init__(self) -> None:
        entries = self.manifest.entries if self.manifest else ()
        self.by_path = {entry.path: entry for entry in entries if entry.kind is EntryKind.FILE}


@dataclass(frozen=True)
class File:
    """One file of the coming manifest: its blocks as content, not yet numbered. None is a block of zeros (on a grid only)."""

    mode: int
    mtime_ns: int
    size: int
    by_content: bool
    blocks: list[bytes | None]


@dataclass
class Collected:
    """What a snapshot found. `kept_back`: unfinished files whose previous version is used; `left_out` with reasons."""

    others: list[Found]
    files: dict[str, File]
    places: dict[bytes, ChunkPlace]
    signatures: dict[str, Signature]
    kept_back: list[str]
    left_out: dict[str, str]
    read_bytes: int


@dataclass
class _Reading:
    """One open file whose blocks are being read, by segment."""

    found: Found
    descriptor: int
    before: Signature
    by_content: bool = False
    segments: dict[int, list[bytes | None]] = field(default_factory=dict)
    torn: bool = False

    def blocks(self) -> list[bytes | None]:
        """All blocks in their order; segments that were not read are holes."""
        size = self.before.size
        if self.by_content:
            return [block for start in sorted(self.segments) for block in self.segments[start]]
        block = block_bytes(size)
        blocks: list[bytes | None] = [None] * -(-size // block)
        for start, read in self.segments.items():
            blocks[start // block : start // block + len(read)] = read
        return blocks


class Collector:
    """One snapshot's pass over a folder. Use once."""

    def __init__(
        self,
        keys: JobKeys,
        known: Known,
        upload: Upload,
        buffers: PackBuffers,
        pids: Callable[[], Iterable[int]],
    ) -> None:
        self._keys = keys
        self._known = known
        self._upload = upload
        self._buffers = buffers
        self._pids = pids
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._local = threading.local()
        self._packs: list[_Filling] = []
        self._places: dict[bytes, ChunkPlace] = {}
        self._claimed: set[bytes] = set()
        self._read_bytes = 0
        if known.manifest is not None:
            self._places = {chunk.chunk_id: chunk for chunk in known.manifest.chunks}
            self._claimed = set(self._places)

    def stop(self) -> None:
        """Abandon the pass soon, from any thread."""
        self._stop.set()

    def collect(self, root: int) -> Collected:
        """Read everything finished below the open directory `root`. Raises Stopped, OSError, or what `upload` raises."""
        listing = list_folder(root)
        collected = Collected([], {}, self._places, {}, [], dict(listing.left_out), 0)
        pending = self._take_unchanged(listing, collected)
        total = sum(found.signature.size for found in pending)
        workers = 1 if total < 4 * SEGMENT_BYTES else min(WORKERS_MAX, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="checkpoint") as pool:
            for attempt in range(ROUNDS_MAX):
                if not pending:
                    break
                self._stop.wait(BETWEEN_ROUNDS_S if attempt else 0)
                pending = [
                    left
                    for start in range(0, len(pending), FILES_A_GROUP)
                    for left in self._read_group(
                        root, pending[start : start + FILES_A_GROUP], pool, collected
                    )
                ]
        for found in pending:
            self._keep_back(found.path, collected)
        for filling in self._packs:
            filling.flush(self._upload)
        collected.read_bytes = self._read_bytes
        return collected

    def _take_unchanged(self, listing: Listing, collected: Collected) -> list[Found]:
        pending = []
        for found in listing.found:
            if found.kind is not EntryKind.FILE:
                collected.others.append(found)
                continue
            previous = self._known.by_path.get(found.path)
            if previous is not None and self._known.signatures.get(found.path) == found.signature:
                collected.files[found.path] = self._previous(previous, found.mode)
                collected.signatures[found.path] = found.signature
            else:
                pending.append(found)
        return pending

    def _keep_back(self, path: str, collected: Collected) -> None:
        previous = self._known.by_path.get(path)
        if previous is not None:
            collected.files[path] = self._previous(previous, previous.mode)
            collected.kept_back.append(path)
        else:
            collected.left_out[path] = "not finished: still being written"

    def _previous(self, entry: Entry, mode: int) -> File:
        assert self._known.manifest is not None
        chunks = self._known.manifest.chunks
        blocks = [None if number == HOLE else chunks[number].chunk_id for number in entry.chunks]
        return File(mode, entry.mtime_ns, entry.size, bool(entry.chunks) and entry.block == 0, blocks)

    # --- one group of files ------------------------------------------------------------------------------

    def _read_group(
        self, root: int, group: list[Found], pool: ThreadPoolExecutor, collected: Collected
    ) -> list[Found]:
        """Read what is finished of `group`; answers what is not."""
        readings: list[_Reading] = []
        deferred: list[Found] = []
        try:
            for found in group:
                self._open(root, found, readings, collected)
            deferred, finished = self._finished(readings)
            work: list[Future[None]] = []
            for reading in finished:
                reading.by_content = self._is_cut_by_content(reading)
                work += [pool.submit(self._read_segment, reading, start) for start in _segments(reading)]
            _wait_for(work, self._stop)
            for reading in finished:
                if not reading.torn and _is_same(reading.before, os.fstat(reading.descriptor)):
                    found = reading.found
                    before = reading.before
                    collected.files[found.path] = File(
                        found.mode, before.mtime_ns, before.size, reading.by_content, reading.blocks()
                    )
                    collected.signatures[found.path] = before
                else:
                    deferred.append(reading.found)
        finally:
            for reading in readings:
                os.close(reading.descriptor)
        return deferred

    def _open(self, root: int, found: Found, readings: list[_Reading], collected: Collected) -> None:
        try:
            descriptor = open_file(root, found.path)
        except FileNotFoundError:
            return  # vanished meanwhile: the job removed it
        except OSError as error:
            collected.left_out[found.path] = error.strerror or str(error)
            return
        readings.append(_Reading(found, descriptor, Signature.of(os.fstat(descriptor))))

    def _is_cut_by_content(self, reading: _Reading) -> bool:
        """As the previous version was, or the two would share no block; unless that one was too small to matter."""
        previous = self._known.by_path.get(reading.found.path)
        if previous is not None and previous.size >= FILE_BYTES_MIN:
            return previous.block == 0
        return is_cut_by_content(reading.descriptor, reading.before.size)

    def _finished(self, readings: list[_Reading]) -> tuple[list[Found], list[_Reading]]:
        newest = max((reading.before.newest_ns for reading in readings), default=0)
        too_young_ns = newest + QUIET_NS - _coarse_now_ns()
        if too_young_ns > 0:
            # The files are held open: one that is replaced by rename meanwhile is read whole all the same.
            self._stop.wait(min(too_young_ns, 2 * QUIET_NS) / 1e9 + 0.005)
        looked_at_ns = _coarse_now_ns()
        writers: Writers = look(self._pids())
        quiet_ns = QUIET_WHEN_BLIND_NS if writers.blind else QUIET_NS
        deferred, finished = [], []
        for reading in readings:
            status = os.fstat(reading.descriptor)
            earlier, reading.before = reading.before, Signature.of(status)
            is_open = (status.st_dev, status.st_ino) in writers.files
            is_young = reading.before.newest_ns > looked_at_ns - quiet_ns
            if is_young and reading.before.newest_ns > looked_at_ns and not writers.blind:
                # Of tomorrow: the machine's clock stepped back, or the job set the file's time. No clock says when it was
                # written last; that it is the same as before the wait does, which was longer than a tick.
                is_young = reading.before != earlier
            if is_open or is_young:
                deferred.append(reading.found)
            else:
                finished.append(reading)
        return deferred, finished

    # --- blocks, on the pool's threads -------------------------------------------------------------------

    def _read_segment(self, reading: _Reading, start: int) -> None:
        if self._stop.is_set():
            raise Stopped
        size = reading.before.size
        wanted = min(SEGMENT_BYTES, size - start)
        mine = self._mine()
        view = memoryview(mine.buffer)[:wanted]
        got = _read_fully(reading.descriptor, view, start)
        if got != wanted:
            reading.torn = True  # cut while we read; its blocks would pass for zeros
            return
        with self._lock:
            self._read_bytes += got
        cuts = mine.cutter.by_content(view) if reading.by_content else mine.cutter.on_grid(view, size)
        blocks: list[bytes | None] = []
        for begin, end in cuts:
            plain = view[begin:end]
            is_hole = not reading.by_content and plain == _ZEROS[: len(plain)]
            blocks.append(None if is_hole else self._store(mine, plain))
        reading.segments[start] = blocks

    def _store(self, mine: "_Filling", plain: memoryview) -> bytes:
        """Put a block into this thread's pack, unless the store has it or will; its id."""
        chunk_id = self._keys.chunk_id(plain)
        with self._lock:
            if chunk_id in self._claimed:
                return chunk_id
            self._claimed.add(chunk_id)
        place = mine.pack.add(mine.sealer, chunk_id, plain)
        with self._lock:
            self._places[chunk_id] = place
        if mine.pack.is_full:
            mine.flush(self._upload)
        return chunk_id

    def _mine(self) -> "_Filling":
        filling: _Filling | None = getattr(self._local, "filling", None)
        if filling is None:
            filling = self._local.filling = _Filling(self._keys, self._buffers)
            with self._lock:
                self._packs.append(filling)
        return filling


class _Filling:
    """What one worker thread owns: its buffer, its sealer, the pack it fills."""

    def __init__(self, keys: JobKeys, buffers: PackBuffers) -> None:
        self._keys = keys
        self._buffers = buffers
        self.buffer = bytearray(SEGMENT_BYTES)
        self.sealer = Sealer(keys)
        self.cutter = Cutter()
        self.pack = Pack.start(keys, buffers.take())

    def flush(self, upload: Upload) -> None:
        """Hand the pack over, unless it is empty, and begin another."""
        if self.pack.size_bytes:
            full = self.pack
            upload(full)  # first: it may wait until a buffer is free again
            self.pack = Pack.start(self._keys, self._buffers.take())


def _wait_for(work: list[Future[None]], stop: threading.Event) -> None:
    failed: BaseException | None = None
    for future in work:
        error = future.exception()
        if error is not None and failed is None:
            failed = error
            stop.set()  # the segments that wait must not go on reading for nothing
    if failed is not None:
        raise failed


def _is_same(before: Signature, status: os.stat_result) -> bool:
    after = Signature.of(status)
    if after == before:
        return True
    # Replaced by rename while we read: losing its name changed its ctime and nothing else.
    return status.st_nlink == 0 and (after.size, after.mtime_ns) == (before.size, before.mtime_ns)


def _segments(reading: _Reading) -> Iterable[int]:
    """Offsets of the segments to read: all, or on a grid those that are not one single hole."""
    size = reading.before.size
    return (
        range(0, size, SEGMENT_BYTES) if reading.by_content else _segments_with_data(reading.descriptor, size)
    )


def _segments_with_data(descriptor: int, size: int) -> Iterable[int]:
    position = 0
    while position < size:
        try:
            data_at = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but hole up to the end
            return
        start = data_at - data_at % SEGMENT_BYTES
        yield start
        position = start + SEGMENT_BYTES


def _read_fully(descriptor: int, view: memoryview, offset: int) -> int:
    got = 0
    while got < len(view):
        count = os.preadv(descriptor, [view[got:]], offset + got)
        if count == 0:
            break
        got += count
    return got


def _coarse_now_ns() -> int:
    """Now on the clock that file times are taken from."""
    return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)
