"""Ending a placement: by its own process, by a stop, by a kill, by the loss of its shim. See `placement`."""

import asyncio
import contextlib
import logging

from gp4u_protocol.messages import (
    ActualState,
)

from gp4u_agent.job_process import end_leftovers
from gp4u_agent.placement_arrive import ColdFilesFollow
from gp4u_agent.reconcile import Phase
from gp4u_agent.runtime.containers.leftovers import end_container
from gp4u_agent.shim_client import ShimGone

LAST_OUTPUT_S = 5.0
UNGRANTED_END_S = 20.0
"""How long the end of a job waits for a new grant after a restart of the agent: its final checkpoint needs the key."""
CONTAINER_END_S = 30.0
MOVING = "moving"
"""The platform's word for a stop after which the job goes on elsewhere."""

log = logging.getLogger(__name__)


class Ending(ColdFilesFollow):
    """The end of one placement."""

    async def _stop_running(self) -> None:
        """SIGTERM; the job's grace; a checkpoint of what it finished; the end."""
        assert self._shim is not None
        if self.spec.transparent and self.spec.stop_reason == MOVING:
            # It goes on elsewhere from where it stands now; a job that knows nothing of signals would die of one.
            await self._last_checkpoint()
            self._moved_whole = True
            self._kill_shim("stopped")
            return
        with contextlib.suppress(ShimGone):
            self._shim.tell("terminate")
            try:
                await asyncio.wait_for(self._shim.gone.wait(), self.spec.stop_grace_s)
            except TimeoutError:
                await self._last_checkpoint()
                self._kill_shim("stopped")

    async def _end(self) -> None:
        """Its process ended, or its shim was lost."""
        ended = self._ended_how = self._how_it_ended()
        if ended is None and self.spec.image is not None:
            await self._without_container()
        if self._kill_reason is not None:
            self._report(ActualState.KILLED, reason=self._kill_reason, detail=self._kill_detail)
            self._set_ended(ActualState.KILLED)
            return
        if ended is None:
            self._shim_lost()
            return
        self.phase = Phase.ENDING
        self._context.changed()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._granted.wait(), UNGRANTED_END_S)
        # A job that is saved whole and ended badly keeps its last dump as what it can go on from.
        keeps_dump = self.spec.transparent and (
            self._moved_whole or (ended["code"] != 0 and not self._stop_wanted)
        )
        saved = False
        if self._granted.is_set() and not keeps_dump:
            try:
                self._make_checkpointing()
            except Exception as error:
                log.warning("%s: no final checkpoint: %s", self.spec.placement_id, error)
            saved = await self._last_checkpoint()
        await self._shipper.finish(LAST_OUTPUT_S)
        document = self.folder.read(self.folder.placement) or {}
        fields = {
            "exit_code": ended["code"],
            "signal": ended["signal"],
            "detail": ended["detail"],
            "saved": saved,
            "durations_ms": {} if document.get("proven") else self._durations.ms,
        }
        # What had finished before it was asked to stop is done. (An exit 0 after SIGTERM may mean no more than good manners.)
        finished = ended["code"] == 0 and not ended.get("terminated", True)
        if self._stop_wanted and not finished:
            self._report(ActualState.STOPPED, reason=self.spec.stop_reason or ended["reason"], **fields)
            self._set_ended(ActualState.STOPPED)
        else:
            self._report(ActualState.EXITED, reason=ended["reason"], **fields)
            self._set_ended(ActualState.EXITED)

    def _shim_lost(self) -> None:
        """The shim died and took the job along, or the machine was restarted. The server decides what follows."""
        end_leftovers(self._name)
        self._report(
            ActualState.EXITED,
            reason="shim_lost",
            detail="The process that kept the job on its node was ended.",
        )
        self._set_ended(ActualState.EXITED)

    async def _without_container(self) -> None:
        """Its shim and guard may both be gone: nothing is told before it is certain that the container is, too."""
        while not await asyncio.to_thread(end_container, self._name, within_s=CONTAINER_END_S):
            log.warning("%s: the container engine does not answer", self.spec.placement_id)
