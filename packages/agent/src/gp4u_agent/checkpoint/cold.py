"""The side of the engine that lets a job start while cold files of its checkpoint still arrive. See `arriving`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gp4u_protocol.checkpoint import lazy
from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.manifest import Manifest
from gp4u_protocol.checkpoint.sealing import JobKeys

from gp4u_agent.checkpoint.arriving import Arrivals
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.restoring import Restorer
from gp4u_agent.job_process import remove_tree

BLOCKED_RETRY_S = 5.0
_NOT_KEPT = (404, 410)

log = logging.getLogger(__name__)


class ColdFiles:
    """What of the restored checkpoint follows after the start.

    Args:
        folder: where it waits; beside the job's folder and out of its reach. None: nothing follows, whatever `patterns` say.
        patterns: of the files that may follow (gp4u_protocol.checkpoint.lazy).
        run: runs a call in a thread of the engine's.
    """

    def __init__(
        self,
        folder: Path | None,
        patterns: Sequence[str],
        keys: JobKeys,
        run: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._folder = folder
        self._patterns = patterns if folder is not None else ()
        self._keys = keys
        self._run = run
        self._reading = asyncio.Lock()
        self._is_read = folder is None
        self._arrivals: Arrivals | None = None
        self.damage: Damaged | None = None
        """Why what is pending can never arrive: no checkpoint may carry it on any more."""

    def split(self, manifest: Manifest, point: dict[str, Any]) -> lazy.Split:
        """Which part of a checkpoint comes first. Of a dump every byte must be there; a fork cannot carry blocks of another job's
        into its own checkpoints; and what was found damaged is read whole, so that an older one is taken before the job runs."""
        whole = point.get("transparent") or point.get("origin_job_id") or point.get("damaged")
        return lazy.split(manifest, () if whole else self._patterns)

    async def expect(self, manifest: Manifest, checkpoint_id: str, later: Sequence[int]) -> None:
        """The rest is restored; these entries of `manifest` follow. Raises OSError."""
        self._is_read, self._arrivals, self.damage = True, None, None
        if (folder := self._folder) is None:
            return
        if later:
            begin = partial(Arrivals.begin, folder, manifest, checkpoint_id, later, self._keys)
            self._arrivals = await self._run(begin)
        else:
            await self._run(partial(remove_tree, folder))

    async def pending(self) -> Arrivals | None:
        """What still has to arrive, also after a restart of the agent; None: everything is there. Raises Damaged, OSError."""
        async with self._reading:
            if not self._is_read and self._folder is not None:
                self._arrivals = await self._run(partial(Arrivals.resume, self._folder, self._keys))
                self._is_read = True
        return self._arrivals

    @property
    def came_from(self) -> tuple[int, int] | None:
        """(epoch, seq) of the checkpoint that the files are of; None where that is not known."""
        manifest = self._arrivals.manifest if self._arrivals is not None else None
        return None if manifest is None else (manifest.epoch, manifest.seq)

    async def finish(self) -> None:
        """It was told that everything has arrived: forget that something had to. Raises OSError."""
        if self._arrivals is not None:
            await self._run(self._arrivals.finish)
            self._arrivals = None

    async def bring(
        self,
        restorer_of: Callable[[str], Restorer],
        anchor: Path,
        inside: Sequence[str],
        wanted: Callable[[], Collection[str]],
        told: Callable[[Arrivals], None],
    ) -> None:
        """Bring everything into the folders `inside` of `anchor`, first what is wanted; `told` hears of each step.

        Ended at any point and called again it goes on. Raises Damaged when a file can never arrive; StaleEpoch, HttpFailure, OSError.
        """
        arrivals = await self.pending()
        if arrivals is None:
            return
        restorer: Restorer | None = None
        while True:
            blocked = await self._run(partial(arrivals.put_in_place, anchor, inside))
            told(arrivals)
            batch = arrivals.next_batch(wanted())
            if batch is None and not arrivals.pending():
                return
            if batch is None:
                log.info("%s files of the checkpoint cannot be put into their place yet", blocked)
                await asyncio.sleep(BLOCKED_RETRY_S)
                continue
            try:
                if restorer is None:
                    restorer = restorer_of(arrivals.checkpoint_id)
                    await restorer.manifest()  # brings the addresses
                await restorer.restore(*batch)
            except HttpFailure as failure:
                if failure.status in _NOT_KEPT:
                    raise Damaged(f"checkpoint {arrivals.checkpoint_id}", "is not kept any more") from failure
                raise
            await self._run(partial(arrivals.brought, *batch))
