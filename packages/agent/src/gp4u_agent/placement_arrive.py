"""While a placement runs: the cold files that its job started without. See `placement` and `checkpoint.arriving`."""

import asyncio
import contextlib
import logging
import time
from typing import Any

from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.messages import ActualState, Arriving

from gp4u_agent.checkpoint.arriving import Arrivals
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.http import StaleEpoch
from gp4u_agent.pending_board import PendingBoard
from gp4u_agent.placement_save import Saving

RETRY_S_FIRST = 1.0
RETRY_S_MAX = 30.0
DAMAGED = "restore_failed"
"""Why a job is ended whose checkpoint turned out damaged while it ran: the same word as for one that never started."""

log = logging.getLogger(__name__)


class ColdFilesFollow(Saving):
    """The arrival of one placement's lazy files."""

    async def _expect_cold_files(self) -> None:
        """Everything else is restored: the job will find out what is pending before its first command."""
        if (arrivals := await self._engine.arrivals()) is not None:
            self._board = PendingBoard(self.folder.control)
            self._board.show(arrivals)

    async def _bring_cold_files(self) -> None:
        """Until everything is there: tried again as long as the store is away, whatever the job does to its folder."""
        try:
            await self._granted.wait()
            began, pause_s = time.monotonic(), RETRY_S_FIRST
            while True:
                try:
                    arrivals = await self._engine.arrivals()
                    if arrivals is None:
                        self._board.show(None)
                        return
                    self._tell_arriving(arrivals)
                    await self._engine.bring_rest(self._board.wanted, self._board.show)
                    break
                except StaleEpoch:
                    self.kill("superseded")
                    return
                except Damaged as damage:
                    await self._give_up_damaged(damage)
                    return
                except (HttpFailure, OSError) as failure:
                    log.warning("%s: files cannot arrive for now: %s", self.spec.placement_id, failure)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)
            self._board.show(None)
            total = self._arriving.bytes_total if self._arriving else 0
            took = {"arriving": round((time.monotonic() - began) * 1000)}
            self._tell(Arriving(files=0, bytes=0, bytes_total=total), durations_ms=took)
            with contextlib.suppress(OSError):  # a restarted agent says it once more
                await self._engine.all_arrived()
        finally:
            self._release_kept()

    def _tell_arriving(self, arrivals: Arrivals) -> None:
        """Once a run of the agent: what the job started without, or is still without."""
        if self._arriving is None:
            files, size = arrivals.left
            total = arrivals.manifest.size_bytes
            self._arriving = Arriving(files=files, bytes=size, bytes_total=total)
            self._tell(self._arriving)

    def _tell(self, arriving: Arriving, **fields: Any) -> None:
        if self.state in (ActualState.RUNNING, ActualState.STOPPING):
            self._report(self.state, arriving=arriving, **fields)

    async def _give_up_damaged(self, damage: Damaged) -> None:
        """A file that the job was promised can never arrive. It goes on elsewhere from the newest checkpoint that is sound;
        no last checkpoint is taken, for it would carry the damage on."""
        log.warning("%s: its checkpoint is damaged: %s", self.spec.placement_id, damage)
        try:
            await self._engine.report_arrivals_damaged(damage)
        except StaleEpoch:
            self.kill("superseded")
            return
        except (HttpFailure, OSError) as failure:
            log.warning("%s: the damage could not be reported: %s", self.spec.placement_id, failure)
        self.kill(DAMAGED, f"A file of its checkpoint could not be read back: {damage}")

    def _release_kept(self) -> None:
        """What lies here because this node stood by for the job is needed no more."""
        if self._kept_for_job:
            self._kept_for_job = False
            self._context.standbys.release(self.spec.job_id)
