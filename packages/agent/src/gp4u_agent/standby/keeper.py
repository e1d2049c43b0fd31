"""Keeps what a node stands by for at hand: fetches each new checkpoint's packs that are missing, reports, lets go.

`told` takes the whole wanted state, as everything else does: what it does not name goes, a minute later, because a standby
that has just become the placement is named no more and is about to be read.
"""

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import blake3
from gp4u_protocol.messages import RestorePoint, StandbyReport, StandbySpec

from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.transfer import Transfer
from gp4u_agent.http import AgentHttp
from gp4u_agent.job_files import BadArchive, fetch_from
from gp4u_agent.job_process import remove_tree
from gp4u_agent.runtime.containers import images
from gp4u_agent.runtime.containers.images import ImageUnavailable
from gp4u_agent.standby.store import NAME, StandbyStore

FETCHES_AT_ONCE = 3
LOOK_INTERVAL_S = 2.0
REPORT_AGAIN_S = 2.0
RETRY_S = (1.0, 5.0, 15.0, 60.0)
LINGER_S = 60.0
FREE_BYTES_MIN = 1 << 30
"""Of the disk, left alone: jobs that run here come first."""

log = logging.getLogger(__name__)


class NoRoom(Exception):
    """What is to be kept does not fit; the message says why."""


class StandbyKeeper:
    """All standbys of a node. All methods run in the agent's event loop."""

    def __init__(self, http: AgentHttp, folder: Path, send: Callable[[StandbyReport], None]) -> None:
        self._http = http
        self._transfer = Transfer(http)
        self._folder = folder
        self._send = send
        self._wanted: dict[str, StandbySpec] = {}
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._reported: dict[str, tuple[StandbyReport, float]] = {}
        self._held: dict[str, RestorePoint | None] = {}
        self._started: dict[str, bool] = {}  # job → image and folder are here
        self._problems: dict[str, str] = {}
        self._fetched: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._rest_until: dict[str, float] = {}
        self._in_use: dict[str, int] = {}
        self._unnamed_since: dict[str, float] = {}
        self._wake = asyncio.Event()

    # --- the gateway's side ----------------------------------------------------------------------------------

    def told(self, specs: Iterable[StandbySpec] | None) -> None:
        """The whole wanted state; None: the gateway knows of no standbys, and nothing changes."""
        if specs is None:
            return
        self._wanted = {spec.job_id: spec for spec in specs if NAME.match(spec.job_id)}
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._look()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_INTERVAL_S)
        finally:
            for task in self._at_work.values():
                task.cancel()

    # --- the placement's side --------------------------------------------------------------------------------

    def take(self, job_id: str) -> StandbyStore | None:
        """What is kept for a job that now runs here; it stays until `release`."""
        store = self._store(job_id)
        if not NAME.match(job_id) or not store.path.is_dir():
            return None
        self._in_use[job_id] = self._in_use.get(job_id, 0) + 1
        if (task := self._at_work.pop(job_id, None)) is not None:
            task.cancel()
        return store

    def release(self, job_id: str) -> None:
        """The placement has what it needs: the job goes on from its own checkpoints."""
        self._in_use[job_id] = self._in_use.get(job_id, 1) - 1
        if self._in_use[job_id] <= 0:
            del self._in_use[job_id]
        # Its folder was handed over, and packs may have been found damaged: what is here is looked up anew.
        self._started.pop(job_id, None)
        self._held.pop(job_id, None)
        self._unnamed_since[job_id] = float("-inf")
        self._wake.set()

    # --- work ------------------------------------------------------------------------------------------------

    def _store(self, job_id: str) -> StandbyStore:
        return StandbyStore(self._folder / job_id)

    async def _look(self) -> None:
        now = time.monotonic()
        for job_id, spec in self._wanted.items():
            if job_id in self._in_use:
                continue
            self._unnamed_since.pop(job_id, None)
            if (
                job_id not in self._at_work
                and now >= self._rest_until.get(job_id, 0.0)
                and not self._is_done(spec)
            ):
                task = self._at_work[job_id] = asyncio.create_task(self._catch_up(job_id))
                task.add_done_callback(lambda done, job_id=job_id: self._ended(done, job_id))  # type: ignore[misc]
            self._report(spec, now)
        await self._let_go(now)

    def _ended(self, task: asyncio.Task[None], job_id: str) -> None:
        if self._at_work.get(job_id) is task:
            del self._at_work[job_id]
        self._wake.set()

    def _is_done(self, spec: StandbySpec) -> bool:
        if not self._started.get(spec.job_id):
            return False
        return spec.checkpoint is None or self._held.get(spec.job_id) == spec.checkpoint

    def _report(self, spec: StandbySpec, now: float) -> None:
        """Say how far it is while the platform has noted something else."""
        held, ready = self._held.get(spec.job_id), self._started.get(spec.job_id, False)
        report = StandbyReport(
            standby_id=spec.standby_id,
            held=held,
            ready=ready,
            bytes_held=self._store(spec.job_id).bytes_held() if held else 0,
            fetched_bytes=self._fetched.get(spec.job_id, 0),
            problem=self._problems.get(spec.job_id),
        )
        said, at = self._reported.get(spec.job_id, (None, 0.0))
        is_noted = (spec.held, spec.ready) == (held, ready)
        if report == said and (is_noted or now - at < REPORT_AGAIN_S):
            return
        if is_noted and said is None and report.problem is None:
            return
        self._reported[spec.job_id] = (report, now)
        self._send(report)

    async def _catch_up(self, job_id: str) -> None:
        """Fetch what is missing. A failure is told and tried again later, ever more patiently."""
        spec = self._wanted[job_id]
        store = self._store(job_id)
        try:
            await asyncio.to_thread(store.create)
            if job_id not in self._held:
                self._held[job_id] = await asyncio.to_thread(store.held)
            if not self._started.get(job_id) or self._held[job_id] != spec.checkpoint:
                await self._fetch(spec, store)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # Whatever it was, the jobs that run here go on, and the platform learns that it cannot count on this node.
            failures = self._failures[job_id] = self._failures.get(job_id, 0) + 1
            self._rest_until[job_id] = time.monotonic() + RETRY_S[min(failures, len(RETRY_S)) - 1]
            expected = isinstance(error, HttpFailure | NoRoom | BadArchive | ImageUnavailable | OSError)
            log.warning("standby for %s: %s", job_id, error, exc_info=None if expected else error)
            self._problems[job_id] = str(error) if expected else "The node met an unforeseen error."
        else:
            self._failures.pop(job_id, None)
            self._problems.pop(job_id, None)

    async def _fetch(self, spec: StandbySpec, store: StandbyStore) -> None:
        found = await self._transfer.get_json(f"/api/v1/agent/standbys/{spec.standby_id}/download", {})
        if found["checkpoint_id"] is not None:
            await self._fetch_checkpoint(found, spec, store)
        if not self._started.get(spec.job_id):
            if found["folder"] is not None and not store.job_folder.is_dir():
                await self._fetch_folder(found["folder"], spec, store)
            if spec.image is not None:
                await asyncio.to_thread(images.ensure, spec.image)
            self._started[spec.job_id] = True

    async def _fetch_checkpoint(self, found: dict[str, Any], spec: StandbySpec, store: StandbyStore) -> None:
        point = RestorePoint(checkpoint_id=found["checkpoint_id"], epoch=found["epoch"], seq=found["seq"])
        if self._held.get(spec.job_id) == point:
            return
        if await asyncio.to_thread(store.manifest, point.checkpoint_id) is None:
            sealed = await self._transfer.get_range(found["manifest_url"], 0, None)
            if blake3.blake3(sealed).hexdigest() != found["manifest_blake3"]:
                raise NoRoom("The checkpoint's table of contents arrived changed.")
            await asyncio.to_thread(store.put_manifest, point.checkpoint_id, sealed)
        here = await asyncio.to_thread(store.packs)
        limit = asyncio.Semaphore(FETCHES_AT_ONCE)

        async def bring(pack_id: str, url: str) -> None:
            async with limit:
                await asyncio.to_thread(self._check_room, spec, store)
                content = await self._transfer.get_range(url, 0, None)
                self._fetched[spec.job_id] = self._fetched.get(spec.job_id, 0) + len(content)
                await asyncio.to_thread(store.put_pack, pack_id, content)

        try:
            async with asyncio.TaskGroup() as group:
                for pack_id, url in found["packs"].items():
                    if NAME.match(pack_id) and pack_id not in here:
                        group.create_task(bring(pack_id, url))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        await asyncio.to_thread(store.note_held, point, found["packs"].keys())
        self._held[spec.job_id] = point

    def _check_room(self, spec: StandbySpec, store: StandbyStore) -> None:
        if store.bytes_held() > 2 * (spec.disk_mb << 20):
            raise NoRoom("The checkpoint takes more than twice the disk that the job asked for.")
        if shutil.disk_usage(store.path).free < FREE_BYTES_MIN:
            raise NoRoom("The node's disk has no room for the checkpoint.")

    async def _fetch_folder(self, folder: dict[str, Any], spec: StandbySpec, store: StandbyStore) -> None:
        target = store.path / "job.part"
        await asyncio.to_thread(remove_tree, target)
        target.mkdir(mode=0o755)
        await asyncio.to_thread(self._check_room, spec, store)
        await fetch_from(self._http, folder["url"], folder["blake3"], target, spec.disk_mb << 20)
        target.rename(store.job_folder)

    async def _let_go(self, now: float) -> None:
        """Remove what is named no more. Also what an earlier run of the agent left."""
        if not self._folder.is_dir():
            return
        for path in await asyncio.to_thread(lambda: list(self._folder.iterdir())):
            job_id = path.name
            if job_id in self._wanted or job_id in self._in_use:
                continue
            if now - self._unnamed_since.setdefault(job_id, now) < LINGER_S:
                continue
            if (task := self._at_work.pop(job_id, None)) is not None:
                task.cancel()
            await asyncio.to_thread(remove_tree, path)
            for known in (self._held, self._started, self._problems, self._fetched, self._failures):
                known.pop(job_id, None)
            for timed in (self._rest_until, self._unnamed_since, self._reported):
                timed.pop(job_id, None)
