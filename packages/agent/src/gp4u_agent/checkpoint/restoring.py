"""Bringing a saved checkpoint back: ranged reads in parallel, every byte verified, published as a whole."""

import asyncio
import base64
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from blake3 import blake3
from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.manifest import Manifest, open_manifest
from gp4u_protocol.checkpoint.reading import RangeRead, Staging, plan_reads
from gp4u_protocol.checkpoint.sealing import JobKeys, Opener

from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.transfer import Transfer

READS_AT_ONCE = 6
_MISSING = (404, 410, 416)
_EXPIRED = (401, 403)

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class LocalPacks(Protocol):
    """Packs that lie on this node already, as sealed as in the store (a standby's). Blocking."""

    def manifest(self, checkpoint_id: str) -> bytes | None:
        """A sealed manifest, if it is here."""
        ...

    def read(self, pack_id: str, start: int, end: int) -> bytes | None:
        """Bytes `start` to `end` (exclusive) of a pack, if they are here."""
        ...

    def distrust(self, pack_id: str) -> None:
        """A pack did not verify."""
        ...


class Restorer:
    """Restores one checkpoint into one folder. Use once.

    What lies in `local` is read from there, verified like everything else; what is missing or damaged there is fetched.
    """

    def __init__(
        self,
        transfer: Transfer,
        keys: JobKeys,
        threads: ThreadPoolExecutor,
        download_path: str,
        fence: dict[str, Any],
        local: LocalPacks | None = None,
    ) -> None:
        self._transfer = transfer
        self._keys = keys
        self._threads = threads
        self._download_path = download_path
        self._fence = fence
        self._local = local
        self._addresses: dict[str, Any] = {}
        self._openers = threading.local()

    async def manifest(self) -> Manifest:
        """The manifest, verified. Raises Damaged, StaleEpoch, StoreUnreachable, HttpFailure."""
        await self._refresh()
        row = self._addresses
        origin = row.get("origin")
        if origin is not None:  # what this job was forked from: another job's, under that job's key
            self._keys = JobKeys.derive(origin["job_id"], base64.b64decode(origin["data_key"]))
        where = f"manifest {row['epoch']}/{row['seq']}"
        try:
            content = await self._local_manifest() or await self._transfer.get_range(
                row["manifest_url"], 0, None
            )
        except HttpFailure as failure:
            if failure.status in _MISSING:
                raise Damaged(where, "is missing") from failure
            raise
        return await self._in_thread(
            lambda: open_manifest(
                bytes(content),
                self._keys,
                epoch=row["epoch"],
                seq=row["seq"],
                blake3_hex=row["manifest_blake3"],
            )
        )

    async def restore(self, manifest: Manifest, folder: Path) -> None:
        """Make `folder` hold exactly what `manifest` says. On any failure `folder` is untouched. Raises as `manifest`."""
        staging = Staging(manifest, folder)
        try:
            await self._in_thread(staging.prepare)
            limit = asyncio.Semaphore(READS_AT_ONCE)

            async def bring(read: RangeRead) -> None:
                async with limit:
                    if await self._in_thread(lambda: self._take_local(staging, read)):
                        return
                    content = await self._range(read)
                    await self._in_thread(lambda: staging.take(self._opener(), read, content))

            async with asyncio.TaskGroup() as group:
                for read in plan_reads(manifest):
                    group.create_task(bring(read))
            await self._in_thread(staging.publish)
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures
        finally:
            await asyncio.shield(self._in_thread(staging.discard))

    async def _local_manifest(self) -> bytes | None:
        if self._local is None or "id" not in self._addresses:
            return None
        row, local = self._addresses, self._local
        content = await self._in_thread(lambda: local.manifest(row["id"]))
        return content if content and blake3(content).hexdigest() == row["manifest_blake3"] else None

    def _take_local(self, staging: Staging, read: RangeRead) -> bool:
        """Write a range from the packs that are here. A piece that does not verify was written nowhere yet, or is written
        over by the one that is fetched."""
        pack = read.pack_id.hex()
        if self._local is None or (content := self._local.read(pack, read.start, read.end)) is None:
            return False
        try:
            staging.take(self._opener(), read, content)
        except Damaged as damage:
            log.warning("a pack that was kept here is damaged and is fetched: %s", damage)
            self._local.distrust(pack)
            return False
        return True

    async def _range(self, read: RangeRead) -> bytes | bytearray:
        pack = read.pack_id.hex()
        for attempt in (1, 2):
            url = self._addresses["packs"].get(pack)
            if url is None:
                raise Damaged(f"pack {pack}", "is not listed with its checkpoint")
            try:
                return await self._transfer.get_range(url, read.start, read.end)
            except HttpFailure as failure:
                if failure.status in _MISSING:
                    raise Damaged(f"pack {pack}", "is missing or too short") from failure
                if failure.status not in _EXPIRED or attempt == 2:
                    raise
            await self._refresh()
        raise AssertionError("the second attempt returns or raises")

    async def _refresh(self) -> None:
        self._addresses = await self._transfer.get_json(self._download_path, self._fence)

    def _opener(self) -> Opener:
        opener: Opener | None = getattr(self._openers, "opener", None)
        if opener is None:
            opener = self._openers.opener = Opener(self._keys)
        return opener

    async def _in_thread(self, call: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that says most: damage before trouble on the way."""
    flat: list[BaseException] = []
    waiting: list[BaseException] = [failures]
    while waiting:
        failure = waiting.pop()
        if isinstance(failure, BaseExceptionGroup):
            waiting.extend(failure.exceptions)
        else:
            flat.append(failure)
    return next((failure for failure in flat if isinstance(failure, Damaged)), flat[0])
