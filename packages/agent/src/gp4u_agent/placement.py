"""One placement on this node, from its grant to its last report.

    granted → fetch files → restore → shim starts the job → proven: RUNNING → … → ended: last checkpoint, last output, report

Reconciliation says *what* (start, stop, kill); this class knows *how*. It starts nothing without a lease: the shim itself
refuses to start the job under a deadline that is past.

A use case a module, each above the ones that it leads to: `placement_start` → `placement_run` → `placement_end` → `placement_save` →
`placement_core`.
"""

import asyncio
import base64
import contextlib
import logging

from gp4u_protocol.messages import (
    ActualState,
    LogAck,
    Notice,
    PlacementStatus,
    ProcessUsage,
)

from gp4u_agent.job_process import read_progress, remove_tree
from gp4u_agent.placement_core import lease_clock
from gp4u_agent.placement_start import Starting
from gp4u_agent.reconcile import Actual, Phase
from gp4u_agent.shim_client import ShimGone

__all__ = ["Placement", "lease_clock"]

log = logging.getLogger(__name__)


class Placement(Starting):
    """See the module. All methods run in the agent's event loop."""

    def actual(self) -> Actual:
        """For `reconcile`."""
        return Actual(
            job_id=self.spec.job_id,
            phase=self.phase,
            granted=self._granted.is_set(),
            claim_sent_at=self.claim_sent_at,
            refused=self.refused,
            end_acknowledged=self.journal.end_acknowledged,
        )

    def status(self) -> PlacementStatus:
        """For the heartbeat."""
        said = self._shim.status if self._shim else {}
        usage = None
        if said:
            usage = ProcessUsage(
                cpu_percent=said["cpu_percent"],
                memory_mb=round(said["memory_bytes"] / 2**20, 1),
                disk_mb=round(said["disk_bytes"] / 2**20, 1),
            )
        state = self.state
        if self.frozen and state in (ActualState.RUNNING, ActualState.STOPPING):
            state = ActualState.FROZEN
        over_s = self._over_s()
        return PlacementStatus(
            placement_id=self.spec.placement_id,
            epoch=self.spec.epoch,
            state=state,
            over=over_s is not None,
            over_s=over_s,
            usage=usage,
            progress=read_progress(self.folder),
        )

    def grant(self, data_key: str, deadline: float) -> None:
        """The claim was accepted. The key lives in this object only, never on disk."""
        self._data_key = base64.b64decode(data_key)
        self.refused = False
        self._granted.set()
        self.renew(deadline)
        if self._checkpointing is None and self._life is not None:
            self._make_checkpointing()

    def renew(self, deadline: float) -> None:
        """The lease is proven further."""
        if self._shim is not None and not self._shim.gone.is_set():
            with contextlib.suppress(ShimGone):
                self._shim.tell("renew", deadline=deadline)

    def renew_status(self) -> None:
        """Ask the shim how things are; the answer comes by itself."""
        if self._shim is not None and not self._shim.gone.is_set():
            with contextlib.suppress(ShimGone):
                self._shim.tell("status")

    def log_acknowledged(self, ack: LogAck) -> None:
        """The gateway has output up to there."""
        self._shipper.acknowledge(ack)

    def notified(self, notice: Notice | None) -> None:
        """It has to leave this node, or not any more: the job is told while it runs."""
        self._notices.hear(notice)
        if self.phase not in (Phase.RUNNING, Phase.STOPPING):
            return
        if self._notices.show(notice) and notice is not None and notice.signal and self._shim is not None:
            with contextlib.suppress(ShimGone):
                self._shim.tell("signal", name=notice.signal)

    def start(self) -> None:
        """Begin: the lease is held and nothing was started yet."""
        assert self._granted.is_set()
        assert self._life is None
        self.phase = Phase.PREPARING
        self._life = self._task(self._from_the_beginning())

    def adopt(self) -> None:
        """Go on after a restart of the agent with what is in the folder."""
        if self.journal.ended:
            self._ended_how = self._how_it_ended()
            self._set_ended(ActualState.EXITED)
        elif self.folder.shim_alive():
            self.phase, self.state = Phase.RUNNING, ActualState.RUNNING
            self._life = self._task(self._from_a_living_shim())
        elif self.folder.read(self.folder.exit) is not None or self.spec.image is not None:
            self.phase, self.state = Phase.ENDING, ActualState.RUNNING
            self._life = self._task(self._end())
        else:
            self._shim_lost()

    def stop(self) -> None:
        """End it gracefully: SIGTERM, grace, final checkpoint, report."""
        if self._stop_wanted:
            return
        self._stop_wanted = True
        if self.phase is Phase.RUNNING:
            self.phase, self.state = Phase.STOPPING, ActualState.STOPPING
            self._report(ActualState.STOPPING)
            self._stopping = self._task(self._stop_running())
        elif self.phase in (Phase.CLAIMING, Phase.PREPARING):
            self._cancel(self._life)
            self._kill_shim("stopped")
            self._report(ActualState.STOPPED, reason=self.spec.stop_reason)
            self._set_ended(ActualState.STOPPED)

    async def close(self) -> None:
        """The agent goes; the job stays with its shim."""
        for task in (self._life, self._stopping):
            self._cancel(task)
        if self._checkpointing is not None:
            self._checkpointing.close()
        if self._shim is not None:
            await self._shim.close()

    async def forget(self) -> None:
        """Remove what is left of it on this machine."""
        await self.close()
        if self.spec.image is not None:
            await self._without_container()
        await asyncio.to_thread(remove_tree, self.folder.path)
        await asyncio.to_thread(remove_tree, self._cache_dir)
