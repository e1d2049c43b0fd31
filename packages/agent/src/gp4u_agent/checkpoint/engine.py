"""The checkpoint engine of one placement: `restore` before the job starts, `snapshot` while and after it runs."""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.limits import block_bytes
from gp4u_protocol.checkpoint.manifest import HOLE, Entry, EntryKind, Manifest, Trigger, seal_manifest
from gp4u_protocol.checkpoint.packing import Pack, PackBuffers
from gp4u_protocol.checkpoint.sealing import ChunkPlace, JobKeys
from gp4u_protocol.messages import PlacementSpec

from gp4u_agent.checkpoint.arriving import Arrivals, carry
from gp4u_agent.checkpoint.cold import ColdFiles
from gp4u_agent.checkpoint.collecting import Collected, Collector, Known, Stopped
from gp4u_agent.checkpoint.http import CheckpointHttp, HttpFailure
from gp4u_agent.checkpoint.memory import Memory
from gp4u_agent.checkpoint.restoring import LocalPacks, Restorer
from gp4u_agent.checkpoint.transfer import FIRST_DELAY_S, Transfer
from gp4u_agent.checkpoint.walking import opened_folder

API = "/api/v1/agent/checkpoints"
UPLOADS_AT_ONCE = 4
_BUILT_ON_SAND = frozenset({"packs_unknown", "objects_missing", "upload_not_found", "checkpoint_conflict"})
"""Refusals of a commit over packs that the platform has not (lost, or collected while this node slept)."""

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class NothingRestorable(Exception):
    """Checkpoints exist and none of them verifies. The job must not start from nothing silently."""


@dataclass(frozen=True)
class RestoreResult:
    """What the job starts from. `checkpoint_id` None: there was no checkpoint, the folder is as the job sent it.

    `damaged` names newer checkpoints that failed verification and were reported.
    """

    checkpoint_id: str | None
    epoch: int | None = None
    seq: int | None = None
    step: int | None = None
    files: int = 0
    size_bytes: int = 0
    damaged: tuple[str, ...] = ()
    dumped_by: str | None = None
    """Public key (base64) of the node that made it, when it is a dump of the whole job: it lies in the engine's dump folder."""
    origin_job_id: str | None = None


@dataclass(frozen=True)
class SnapshotResult:
    """A committed checkpoint. `stored_bytes` are new in the store; `kept_back` files have their previous version."""

    checkpoint_id: str
    epoch: int
    seq: int
    step: int | None
    files: int
    size_bytes: int
    stored_bytes: int
    read_bytes: int
    kept_back: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pace:
    """The interval that this node keeps, and what a checkpoint costs here, in seconds: told with a commit."""

    every_s: float
    cost_s: float


class CheckpointEngine:
    """Checkpoints of one placement.

    Args:
        http: the agent's client, see CheckpointHttp.
        placement: which placement; its epoch fences every call.
        data_key: 32 bytes, from `Granted`.
        folder: absolute path of the checkpoint folder on the host; its last parts are `placement.checkpoint_path`.
        cache_dir: a folder of this placement outside the job's reach, kept over restarts of the agent.
        pids: the job's processes now; empty when none runs.
        first_delay_s: first pause before a retry.
        dump_folder: where dumps of the whole job lie to be saved, and are restored to; outside the job's reach.
        local: packs that lie here already, because this node stood by for the job.
        cold_folder: where lazy files wait, see ColdFiles; `placement.checkpoint_lazy` says which they are.

    Methods raise `gp4u_agent.http.StaleEpoch` (kill the job) or another HttpFailure (try later; nothing was saved), and
    `snapshot` also OSError and Unrepresentable for the folder itself.
    """

    def __init__(
        self,
        http: CheckpointHttp,
        placement: PlacementSpec,
        data_key: bytes,
        folder: Path,
        cache_dir: Path,
        pids: Callable[[], Iterable[int]],
        *,
        first_delay_s: float = FIRST_DELAY_S,
        local: LocalPacks | None = None,
        dump_folder: Path | None = None,
        cold_folder: Path | None = None,
    ) -> None:
        self._dump_folder = dump_folder
        self._local = local
        self._transfer = Transfer(http, first_delay_s=first_delay_s)
        self._placement = placement
        self._keys = JobKeys.derive(placement.job_id, data_key)
        self._folder = folder
        self._inner_parts = len(
            [part for part in placement.checkpoint_path.split("/") if part not in ("", ".")]
        )
        self._memory = Memory(cache_dir, self._keys)
        self._pids = pids
        self._fence: dict[str, Any] = {"placement_id": placement.placement_id, "epoch": placement.epoch}
        self._threads = ThreadPoolExecutor(max(4, os.cpu_count() or 1), thread_name_prefix="checkpoint")
        patterns = () if placement.transparent else placement.checkpoint_lazy
        self._cold = ColdFiles(cold_folder, patterns, self._keys, self._run)
        self._turn = asyncio.Lock()
        self._known: Known | None = None
        self.newest: SnapshotResult | RestoreResult | None = None
        """The newest committed checkpoint this engine made or restored."""

    def close(self) -> None:
        """Let the threads go. The engine is of no use afterwards."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def restore(self) -> RestoreResult:
        """Bring back the newest checkpoint that verifies; make the folder when there is none.

        Raises NothingRestorable when checkpoints exist and all are damaged.
        """
        async with self._turn, self._ahead() as ahead:
            points = await self._points()
            wanted = self._placement.restore
            if wanted is not None and not any(point["id"] == wanted.checkpoint_id for point in points):
                raise NothingRestorable(f"{wanted.checkpoint_id} is not among the job's checkpoints")
            damaged: list[str] = []
            for point in points:
                restorer, opened = self._restorer(point["id"]), None
                if ahead is not None and wanted is not None and point["id"] == wanted.checkpoint_id:
                    restorer, opened = ahead
                whole: dict[str, Any] | None = point.get("transparent")
                target = self._folder if whole is None or self._dump_folder is None else self._dump_folder
                try:
                    manifest = await (opened or restorer.manifest())
                    await self._run(self._make_parents)
                    split = self._cold.split(manifest, point)
                    await restorer.restore(split.first, target)
                    await self._cold.expect(manifest, point["id"], split.later)
                except Damaged as damage:
                    log.warning("checkpoint %s is damaged: %s", point["id"], damage)
                    damaged.append(point["id"])
                    await self._report(point["id"], damage)
                    continue
                # A fork builds on nothing: its own checkpoints are under its own key, and share no pack.
                self._known = Known() if point.get("origin_job_id") else Known(manifest)
                self.newest = RestoreResult(
                    point["id"], manifest.epoch, manifest.seq, manifest.step, manifest.files,
                    manifest.size_bytes, tuple(damaged), whole["signed_by"] if whole else None,
                    point.get("origin_job_id"),
                )  # fmt: skip
                return self.newest
            if damaged:
                raise NothingRestorable(f"all {len(damaged)} checkpoints of the job are damaged")
            await self._run(self._make_parents)
            await self._run(lambda: self._folder.mkdir(exist_ok=True))
            self._known = Known()
            return RestoreResult(None)

    async def arrivals(self) -> Arrivals | None:
        """Lazy files that still have to arrive. None: everything is there. Raises Damaged, OSError."""
        return await self._cold.pending()

    async def bring_rest(
        self, wanted: Callable[[], Collection[str]], told: Callable[[Arrivals], None]
    ) -> None:
        """Bring what still has to arrive while the job runs, see ColdFiles.bring. `all_arrived` comes after it."""
        inside = self._folder.parts[len(self._anchor.parts) :]
        await self._cold.bring(self._restorer, self._anchor, inside, wanted, told)

    async def report_arrivals_damaged(self, damage: Damaged) -> None:
        """A file can never arrive: say so of the checkpoint it comes from, and of each since, which carried it on. None follows."""
        self._cold.damage = damage
        async with self._turn:  # one that is being taken is there when they are listed
            points = await self._points()
        if (came_from := self._cold.came_from) is None:
            return  # what lies here is damaged, not what is stored
        for point in points:
            if not point.get("origin_job_id") and (point["epoch"], point["seq"]) >= came_from:
                await self._report(point["id"], damage)

    async def all_arrived(self) -> None:
        """That everything has arrived was told: an agent that is started again says no more of it. Raises OSError."""
        await self._cold.finish()

    @contextlib.asynccontextmanager
    async def _ahead(self) -> AsyncIterator[tuple[Restorer, asyncio.Future[Manifest]] | None]:
        """The manifest of the checkpoint that the platform named is fetched while it is asked for all of them."""
        wanted = self._placement.restore
        if wanted is None:
            yield None
            return
        restorer = self._restorer(wanted.checkpoint_id)
        opening = asyncio.ensure_future(restorer.manifest())
        try:
            yield restorer, opening
        finally:
            opening.cancel()
            await asyncio.wait({opening})
            if not opening.cancelled():
                opening.exception()  # whoever wanted it has had it

    async def snapshot(
        self,
        trigger: Trigger | str,
        step: int | None = None,
        *,
        pace: Pace | None = None,
        whole: dict[str, Any] | None = None,
    ) -> SnapshotResult | None:
        """Save what the job has finished. None when nothing changed since the newest checkpoint.

        `whole`: save the dump folder instead, a dump of the whole job, and say this of it (see `gp4u_protocol.transparent`).

        Before the first file is finished only the job itself may commit: an empty checkpoint on the interval would
        promise a restore that starts from nothing.
        """
        async with self._turn:
            try:
                return await self._snapshot(trigger, step, pace, whole)
            except HttpFailure as failure:
                if failure.code not in _BUILT_ON_SAND:
                    raise
                log.warning("the checkpoint was refused (%s): saving everything afresh", failure)
            self._known = Known()
            return await self._snapshot(trigger, step, pace, whole)

    async def _snapshot(
        self, trigger: Trigger | str, step: int | None, pace: Pace | None, whole: dict[str, Any] | None
    ) -> SnapshotResult | None:
        known = self._known = self._known or await self._recall()
        upload = _Uploads(self._transfer, self._fence)
        if self._cold.damage is not None:
            raise self._cold.damage
        arrivals = await self.arrivals() if whole is None else None
        pending = arrivals.pending() if arrivals is not None else {}  # before the folder is read, see `carry`
        collected = await self._collect(known, upload, whole is not None)
        carried: dict[bytes, int] = {}
        if arrivals is not None:
            carried = arrivals.manifest.pack_sizes
            await self._run(partial(arrivals.supersede, carry(collected, pending, arrivals.manifest)))
        entries, chunks = _assemble(collected)
        before = known.manifest
        if before is not None and _content(entries, chunks) == _content(before.entries, before.chunks):
            self._known = Known(before, collected.signatures)
            return None
        if before is None and trigger != Trigger.JOB and all(e.kind is EntryKind.DIRECTORY for e in entries):
            return None
        return await self._publish(
            entries, chunks, collected, upload, Trigger(trigger), step, pace, whole, carried
        )

    # --- snapshot ----------------------------------------------------------------------------------------

    async def _collect(self, known: Known, uploads: "_Uploads", whole: bool) -> Collected:
        folder, inner_parts, pids = self._folder, self._inner_parts, self._pids
        if whole:
            assert self._dump_folder is not None
            # It is ours: the job writes nothing there.
            folder, inner_parts, pids = self._dump_folder, 0, tuple
        if self._placement.checkpoint_verify:
            known = Known(known.manifest)  # no signature is known, so every file is read and hashed
        collector = Collector(self._keys, known, uploads.hand_over, uploads.buffers, pids)

        def collect() -> Collected:
            with opened_folder(folder, inner_parts) as root:
                return collector.collect(root)

        work = asyncio.ensure_future(self._run(collect))
        try:
            collected: Collected = await asyncio.shield(work)
            await uploads.finish()
        except BaseException:
            collector.stop()
            uploads.abandon()
            await asyncio.wait([work])
            if not work.cancelled() and isinstance(work.exception(), Stopped):
                log.debug("snapshot abandoned")
            raise
        finally:
            uploads.buffers.clear()
        return collected

    async def _publish(
        self, entries: tuple[Entry, ...], chunks: tuple[ChunkPlace, ...], collected: Collected,
        uploads: "_Uploads", trigger: Trigger, step: int | None, pace: Pace | None,
        whole: dict[str, Any] | None, carried: dict[bytes, int],
    ) -> SnapshotResult:  # fmt: skip
        opened = await uploads.opened()
        before = self._known.manifest.pack_sizes if self._known and self._known.manifest else {}
        sizes = {**carried, **before, **uploads.sizes}
        used = dict.fromkeys(chunk.pack_id for chunk in chunks)
        manifest = Manifest(
            job_id=self._placement.job_id, epoch=self._placement.epoch, seq=opened["seq"], trigger=trigger, step=step,
            created_at=datetime.now(UTC), entries=entries, chunks=chunks,
            pack_sizes={pack_id: sizes[pack_id] for pack_id in used},
        )  # fmt: skip
        sealed = await self._run(lambda: seal_manifest(manifest, self._keys))
        named = {
            "upload_id": opened["upload_id"],
            "blake3": sealed.blake3_hex,
            "size_bytes": len(sealed.content),
        }
        address = await self._transfer.post_json(f"{API}/manifest", {**self._fence, **named})
        await self._transfer.put(address["url"], sealed.content, address["headers"])
        stored = sum(size for pack_id, size in uploads.sizes.items() if pack_id in used)
        committed = await self._transfer.post_json(
            f"{API}/commit",
            {
                **self._fence, **named,
                "packs": [{"id": pack_id.hex(), "size_bytes": size} for pack_id, size in manifest.pack_sizes.items()],
                "files": manifest.files, "content_bytes": manifest.size_bytes, "stored_bytes": stored,
                "step": step, "trigger": trigger.value,
                **({"pace": {"every_s": pace.every_s, "cost_s": pace.cost_s}} if pace else {}),
                **({"transparent": whole} if whole else {}),
            },
        )  # fmt: skip
        self._known = Known(manifest, collected.signatures)
        await self._run(lambda: self._memory.keep(committed["id"], sealed, manifest, collected.signatures))
        self.newest = SnapshotResult(
            committed["id"], manifest.epoch, manifest.seq, step, manifest.files, manifest.size_bytes, stored,
            collected.read_bytes, tuple(collected.kept_back), tuple(collected.left_out),
        )  # fmt: skip
        return self.newest

    async def _recall(self) -> Known:
        """What an earlier run of the agent, or an earlier node, has saved of this job."""
        points = await self._points()
        if not points or points[0].get("origin_job_id"):
            return Known()
        known = await self._run(lambda: self._memory.recall(points[0]))
        if known is not None:
            return known
        try:
            return Known(await self._restorer(points[0]["id"]).manifest())
        except Damaged as damage:
            await self._report(points[0]["id"], damage)
            return Known()

    # --- both --------------------------------------------------------------------------------------------

    async def _points(self) -> list[dict[str, Any]]:
        answer = await self._transfer.get_json(API, self._fence)
        points: list[dict[str, Any]] = answer["items"]
        return points

    def _restorer(self, checkpoint_id: str) -> Restorer:
        path = f"{API}/{checkpoint_id}/download"
        return Restorer(self._transfer, self._keys, self._threads, path, self._fence, self._local)

    async def _report(self, checkpoint_id: str, damage: Damaged) -> None:
        body = {**self._fence, "detail": str(damage)[:500]}
        try:
            await self._transfer.post_json(f"{API}/{checkpoint_id}/damaged", body)
        except HttpFailure as failure:
            log.warning("the damage of %s could not be reported: %s", checkpoint_id, failure)

    @property
    def _anchor(self) -> Path:
        """The folder that the job cannot replace; below it every name is the job's."""
        return self._folder.parents[self._inner_parts - 1] if self._inner_parts else self._folder

    def _make_parents(self) -> None:
        """Make the folders above the checkpoint folder; a link that the job's files put there is refused."""
        anchor = self._anchor
        anchor.mkdir(parents=True, exist_ok=True)
        path = anchor
        for name in self._folder.parts[len(anchor.parts) : -1]:
            path = path / name
            if path.is_symlink():
                raise OSError(
                    f"{path.name} is a link: the checkpoint folder must lie inside the job's folder"
                )
            path.mkdir(exist_ok=True)
        if self._folder.is_symlink():
            raise OSError("the checkpoint folder is a link: it must be a folder of the job")

    async def _run(self, call: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


class _Uploads:
    """Packs of one snapshot on their way: announced first, then put; a bounded number at once."""

    def __init__(self, transfer: Transfer, fence: dict[str, Any]) -> None:
        self._transfer = transfer
        self._fence = fence
        self._loop = asyncio.get_running_loop()
        self._free = threading.BoundedSemaphore(UPLOADS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._opening: asyncio.Task[dict[str, Any]] | None = None
        self.buffers = PackBuffers()
        self.sizes: dict[bytes, int] = {}

    def hand_over(self, pack: Pack) -> None:
        """From a worker thread: take a pack; blocks while too many are on their way. Raises what failed an earlier one."""
        while not self._free.acquire(timeout=0.5):
            self._raise_failure()
        self._raise_failure()
        self._loop.call_soon_threadsafe(self._start, pack)

    async def opened(self) -> dict[str, Any]:
        """The server's row for this upload, made when it is first needed: a snapshot without change costs none."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._transfer.post_json(f"{API}/open", self._fence))
        return await asyncio.shield(self._opening)

    async def finish(self) -> None:
        """Wait for every pack. Raises the first failure."""
        await asyncio.sleep(0)  # packs handed over by a thread just before it ended are started first
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._raise_failure()

    def abandon(self) -> None:
        """Give the packs up; threads that wait are let go with an error."""
        self._failure = self._failure or Stopped()
        for task in self._tasks:
            task.cancel()

    def _start(self, pack: Pack) -> None:
        task = self._loop.create_task(self._put(pack.pack_id, pack.content()))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, pack))

    def _done(self, task: asyncio.Task[None], pack: Pack) -> None:
        self._tasks.discard(task)
        self.buffers.give_back(pack.buffer)
        self._free.release()
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()

    async def _put(self, pack_id: bytes, content: memoryview) -> None:
        opened = await self.opened()
        announced = {
            "upload_id": opened["upload_id"],
            "packs": [{"id": pack_id.hex(), "size_bytes": len(content)}],
        }
        for attempt in (1, 2):
            answer = await self._transfer.post_json(f"{API}/packs", {**self._fence, **announced})
            address = answer["packs"][0]
            try:
                await self._transfer.put(address["url"], content, address["headers"])
                break
            except HttpFailure as failure:
                if (
                    failure.status != 403 or attempt == 2
                ):  # 403: the address ran out; a fresh one is asked for once
                    raise
        self.sizes[pack_id] = len(content)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _assemble(collected: Collected) -> tuple[tuple[Entry, ...], tuple[ChunkPlace, ...]]:
    """Entries in the order of their paths, folders first; and the chunk table with only what they use."""
    numbers: dict[bytes, int] = {}
    entries: list[Entry] = []
    for found in collected.others:
        entries.append(
            Entry(
                path=found.path,
                kind=found.kind,
                mode=found.mode,
                mtime_ns=found.mtime_ns,
                target=found.target,
            )
        )
    for path, file in collected.files.items():
        chunks = [HOLE if block is None else numbers.setdefault(block, len(numbers)) for block in file.blocks]
        block = block_bytes(file.size) if file.size and not file.by_content else 0
        entries.append(
            Entry(path=path, kind=EntryKind.FILE, mode=file.mode, mtime_ns=file.mtime_ns, size=file.size,
                  block=block, chunks=chunks)
        )  # fmt: skip
    entries.sort(key=lambda entry: entry.path.split("/"))
    return tuple(entries), tuple(collected.places[chunk_id] for chunk_id in numbers)


def _content(entries: tuple[Entry, ...], chunks: tuple[ChunkPlace, ...]) -> list[tuple[Any, ...]]:
    """What makes two checkpoints differ: everything but times."""
    return [
        (e.path, e.kind, e.mode, e.size, e.block, e.target,
         [None if number == HOLE else chunks[number].chunk_id for number in e.chunks])
        for e in entries
    ]  # fmt: skip
