"""Minding a placement while it runs. See `placement`."""

import asyncio
import logging

from gp4u_agent.job_process import end_shim
from gp4u_agent.placement_core import lease_clock
from gp4u_agent.placement_end import Ending
from gp4u_agent.shim_client import ShimGone

SHIM_LOOK_INTERVAL_S = 1.0

log = logging.getLogger(__name__)


class Running(Ending):
    """The life of one placement between its start and its end."""

    async def _tend(self) -> None:
        """While it runs: checkpoints, output, what of its files still arrives, and waiting for its end."""
        assert self._shim is not None
        shipping = self._task(self._shipper.run())
        saving = self._task(self._save_when_granted())
        fencing = self._task(self._fence_a_stopped_shim())
        bringing = self._task(self._bring_cold_files())
        try:
            await self._shim.gone.wait()
        finally:
            for task in (shipping, saving, fencing, bringing):
                task.cancel()
            await asyncio.gather(shipping, saving, fencing, bringing, return_exceptions=True)
            self._release_kept()
        if self._stopping is not None and not self._stopping.done():
            await asyncio.wait([self._stopping])
        await self._end()

    async def _fence_a_stopped_shim(self) -> None:
        """A shim that stands still (SIGSTOP, a debugger) freezes nothing. When the lease is over and it does not answer, it goes.

        The agent can see to that only while it runs itself; both standing still with the job running is not covered.
        """
        assert self._shim is not None
        while not self._shim.gone.is_set():
            await asyncio.sleep(SHIM_LOOK_INTERVAL_S)
            if self.frozen or not 0 < self._deadline() + SHIM_LOOK_INTERVAL_S < lease_clock():
                continue
            try:
                await self._shim.ask("status")
            except ShimGone:
                log.warning("%s: the lease is over and its shim stands still", self.spec.placement_id)
                end_shim(self.folder)
                return
