"""What every use case of a placement needs: its state, its folder, its reports, its shim's end. See `placement`."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from gp4u_protocol.lease_core import LeaseId
from gp4u_protocol.messages import (
    ActualState,
    Arriving,
    PlacementSpec,
)
from gp4u_protocol.transparent import TransparentFacts

from gp4u_agent.checkpointing import Checkpointing
from gp4u_agent.job_process import end_shim
from gp4u_agent.log_shipping import LogShipper
from gp4u_agent.node_context import NodeContext
from gp4u_agent.notices import NoticeBoard
from gp4u_agent.pending_board import PendingBoard
from gp4u_agent.placement_dir import PlacementDir, boot_id
from gp4u_agent.reconcile import Phase
from gp4u_agent.reports import ReportJournal
from gp4u_agent.runtime.port import Workload
from gp4u_agent.shim_client import ShimClient, ShimGone
from gp4u_agent.starting import Durations, workload_of

KILL_OBEYED_S = 15.0
"""A shim takes a few seconds at most for a kill, cleaning up included."""

log = logging.getLogger(__name__)


def lease_clock() -> float:
    """Seconds since boot, counting suspend: shared with the shims."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class PlacementCore:
    """State of one placement. All methods run in the agent's event loop."""

    def __init__(self, context: NodeContext, spec: PlacementSpec) -> None:
        self._context = context
        self.spec = spec
        self.lease = LeaseId(spec.placement_id, spec.epoch)
        self.folder = PlacementDir(context.placements_dir / self._name)
        self.journal = ReportJournal.load(self.folder, spec.placement_id, spec.epoch)
        self.phase = Phase.CLAIMING
        self.claim_sent_at: float | None = None
        self.refused = False
        self.state = ActualState.CLAIMED
        self._data_key: bytes | None = None
        self._granted = asyncio.Event()
        self._shim: ShimClient | None = None
        self._shipper = LogShipper(self.folder, spec.placement_id, spec.epoch, context.send)
        self._checkpointing: Checkpointing | None = None
        self._stop_wanted = False
        self._kill_reason: str | None = None
        self._kill_detail: str | None = None
        self._life: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._durations = Durations()
        self._notices = NoticeBoard(self.folder.control)
        self._board = PendingBoard(self.folder.control)
        self._arriving: Arriving | None = None
        self._kept_for_job = False
        self._restored_whole = self._moved_whole = False
        self._ended_how: dict[str, Any] | None = None

    @property
    def frozen(self) -> bool:
        """Whether the shim holds the job frozen."""
        return bool(self._shim and not self._shim.gone.is_set() and self._shim.status.get("frozen"))

    def _how_it_ended(self) -> dict[str, Any] | None:
        """As the shim wrote it down, or only said it where the disk is full; None: it did neither."""
        said: dict[str, Any] | None = self._shim.status.get("exit") if self._shim is not None else None
        return self.folder.read(self.folder.exit) or said

    def _over_s(self) -> float | None:
        """Seconds since its process ended; 0 where that cannot be told any more; None: it has not ended, or nothing says so."""
        how = self._ended_how or (self._shim.status.get("exit") if self._shim is not None else None)
        if not how:
            return None
        if how.get("boot_id") != boot_id():
            return 0.0  # the machine was started again, and its clock with it
        return max(0.0, lease_clock() - float(how["at"]))

    @property
    def _runtime(self) -> str:
        if self.spec.transparent:
            return self._whole_facts.runtime
        return self._context.runtime if self.spec.image is None else "containers"

    @property
    def _whole_facts(self) -> TransparentFacts:
        """What this node proved of saving a job like this one whole."""
        return self._context.transparent.of(self.spec.image)

    @property
    def _name(self) -> str:
        """Of its folder, its cache and its control groups."""
        return f"{self.spec.placement_id}.{self.spec.epoch}"

    @property
    def _cache_dir(self) -> Path:
        return self._context.cache_dir / self._name

    @property
    def _workload(self) -> Workload:
        return workload_of(self.spec, self._name, self.folder, self._context.inside_dir)

    @property
    def _container_pid(self) -> int | None:
        applied = self._shim.status.get("applied", {}) if self._shim is not None else {}
        return int(applied["container.pid"]) if "container.pid" in applied else None

    def _deadline(self) -> float:
        deadline = self._context.deadline(self.spec.placement_id, self.spec.epoch)
        return 0.0 if deadline is None or deadline < 0 else deadline

    def _heard(self, _: dict[str, Any]) -> None:
        self._context.changed()

    def kill(self, reason: str, detail: str | None = None) -> None:
        """End it now: another epoch owns the job, nobody wants it any more, or it runs on what is damaged. No checkpoint, no grace."""
        if self.phase is Phase.ENDED or self._kill_reason is not None:
            return
        log.info("%s epoch %s: killed, %s", *self.lease, reason)
        self._kill_reason, self._kill_detail = reason, detail
        self._cancel(self._stopping)
        if self.phase is Phase.RUNNING or self.phase is Phase.STOPPING:
            self._kill_shim(reason)  # its end is noticed like any other
            return
        self._cancel(self._life)
        self._kill_shim(reason)
        if self.phase is not Phase.CLAIMING:
            self._report(ActualState.KILLED, reason=reason)
        self._set_ended(ActualState.KILLED)

    def _kill_shim(self, reason: str) -> None:
        """Have the job ended by its shim; where that cannot be asked, end the shim, which ends the job."""
        if self._shim is not None and not self._shim.gone.is_set():
            with contextlib.suppress(ShimGone):
                self._shim.tell("kill", reason=reason)
                self._task(self._end_shim_that_stays(self._shim))
                return
        end_shim(self.folder)

    async def _end_shim_that_stays(self, shim: ShimClient) -> None:
        """A shim that was stopped or hangs obeys nobody; its death is the job's."""
        try:
            await asyncio.wait_for(shim.gone.wait(), KILL_OBEYED_S)
        except TimeoutError:
            log.warning("%s: its shim does not obey and is ended", self.spec.placement_id)
            end_shim(self.folder)

    def _report(self, state: ActualState, **fields: Any) -> None:
        self._context.send(self.journal.add(state, **fields))
        self._context.changed()

    def _enter(self, state: ActualState) -> None:
        self.state = state
        self._report(state)

    def _set_ended(self, state: ActualState) -> None:
        self.phase, self.state = Phase.ENDED, state
        if self._checkpointing is not None:
            self._checkpointing.close()
        self._data_key = None
        self._context.changed()

    def _keep(self, *, started: bool, proven: bool) -> None:
        self.folder.write(
            self.folder.placement,
            {"spec": self.spec.model_dump(mode="json"), "started": started, "proven": proven},
        )

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(_complain)
        return task

    @staticmethod
    def _cancel(task: asyncio.Task[None] | None) -> None:
        if task is not None and task is not asyncio.current_task():
            task.cancel()


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task of a placement failed", exc_info=error)
