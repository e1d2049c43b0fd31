"""One placement on this node, from its grant to its last report.

    granted → fetch files → restore → shim starts the job → proven: RUNNING → … → ended: last checkpoint, last output, report

Reconciliation says *what* (start, stop, kill); this class knows *how*. It starts nothing without a lease: the shim itself
refuses to start the job under a deadline that is past.
"""

import asyncio
import base64
import contextlib
import logging
import time
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from gp4u_protocol.lease_core import LeaseId
from gp4u_protocol.messages import (
    ActualState,
    LogAck,
    PlacementSpec,
    PlacementStatus,
    ProcessUsage,
)

from gp4u_agent.checkpoint.commits import ControlFolder
from gp4u_agent.checkpoint.engine import CheckpointEngine
from gp4u_agent.checkpointing import Checkpointing
from gp4u_agent.http import StaleEpoch, with_retries
from gp4u_agent.job_process import end_leftovers, end_shim, job_pids, read_progress, remove_tree
from gp4u_agent.log_shipping import LogShipper
from gp4u_agent.node_context import NodeContext
from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.reconcile import Actual, Phase
from gp4u_agent.reports import ReportJournal
from gp4u_agent.runtime.containers import images
from gp4u_agent.runtime.containers.leftovers import end_container
from gp4u_agent.runtime.port import Workload
from gp4u_agent.shim_client import ShimClient, ShimGone, launch
from gp4u_agent.starting import Durations, fetch_anew, why_not_started, workload_of

PROOF_S = 0.25
"""A job counts as started when its command was executed and lived this long, or ended well before."""
LAST_OUTPUT_S = 5.0
UNGRANTED_END_S = 20.0
"""How long the end of a job waits for a new grant after a restart of the agent: its final checkpoint needs the key."""
START_RETRY_S = 0.1
START_ANSWERED_S = 60.0
"""A container engine takes seconds, on a busy machine many."""
CONTAINER_END_S = 30.0
SHIM_LOOK_INTERVAL_S = 1.0
KILL_OBEYED_S = 15.0
"""A shim takes a few seconds at most for a kill, cleaning up included."""

log = logging.getLogger(__name__)


def lease_clock() -> float:
    """Seconds since boot, counting suspend: shared with the shims."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Placement:
    """See the module. All methods run in the agent's event loop."""

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
        self._life: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._durations = Durations()

    # --- what reconciliation and the connection see -------------------------------------------------------

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
        return PlacementStatus(
            placement_id=self.spec.placement_id,
            epoch=self.spec.epoch,
            state=state,
            usage=usage,
            progress=read_progress(self.folder),
        )

    @property
    def frozen(self) -> bool:
        """Whether the shim holds the job frozen."""
        return bool(self._shim and not self._shim.gone.is_set() and self._shim.status.get("frozen"))

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

    # --- what reconciliation orders -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin: the lease is held and nothing was started yet."""
        assert self._granted.is_set()
        assert self._life is None
        self.phase = Phase.PREPARING
        self._life = self._task(self._from_the_beginning())

    def adopt(self) -> None:
        """Go on after a restart of the agent with what is in the folder."""
        if self.journal.ended:
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

    def kill(self, reason: str) -> None:
        """End it now: another epoch owns the job, or nobody wants it any more. No checkpoint, no grace."""
        if self.phase is Phase.ENDED or self._kill_reason is not None:
            return
        log.info("%s epoch %s: killed, %s", *self.lease, reason)
        self._kill_reason = reason
        self._cancel(self._stopping)
        if self.phase is Phase.RUNNING or self.phase is Phase.STOPPING:
            self._kill_shim(reason)  # its end is noticed like any other
            return
        self._cancel(self._life)
        self._kill_shim(reason)
        if self.phase is not Phase.CLAIMING:
            self._report(ActualState.KILLED, reason=reason)
        self._set_ended(ActualState.KILLED)

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

    # --- a life -------------------------------------------------------------------------------------------

    async def _from_the_beginning(self) -> None:
        try:
            await self._prepare()
            await self._start_job()
        except asyncio.CancelledError:
            raise
        except StaleEpoch:
            self.kill("superseded")
            return
        except Exception as error:
            reason, detail = why_not_started(error)
            log.warning("%s: not started, %s: %s", self.spec.placement_id, reason, detail)
            self._kill_shim(reason)
            self._report(
                ActualState.START_FAILED, reason=reason, detail=detail, durations_ms=self._durations.ms
            )
            self._set_ended(ActualState.START_FAILED)
            return
        await self._tend()

    async def _prepare(self) -> None:
        self.folder.path.mkdir(mode=0o700, exist_ok=True)
        for folder in (self.folder.job, self.folder.control):
            await asyncio.to_thread(remove_tree, folder)
            folder.mkdir(mode=0o755)
        self._keep(started=False, proven=False)
        if self.spec.upload_id is not None:
            self._enter(ActualState.FETCHING)
            with self._durations.measured("fetching"):
                await with_retries(lambda: fetch_anew(self._context.http, self.spec, self.folder))
        if self.spec.image is not None:
            await self._bring_image(self.spec.image)
        self._make_checkpointing()
        self._enter(ActualState.RESTORING)
        with self._durations.measured("restoring"):
            await self._engine.restore()

    async def _bring_image(self, image: str) -> None:
        """Pull it where it is not here, telling how far it is whenever that is a tenth further."""
        loop, told = asyncio.get_running_loop(), 0

        def progressed(fraction: float) -> None:
            nonlocal told
            if (tenths := int(fraction * 10)) > told:
                told = tenths
                detail = f"The image is being pulled: {tenths * 10} %"
                loop.call_soon_threadsafe(partial(self._report, ActualState.FETCHING, detail=detail))

        self._enter(ActualState.FETCHING)
        with self._durations.measured("fetching"):
            await asyncio.to_thread(images.ensure, image, progressed)

    async def _start_job(self) -> None:
        with self._durations.measured("starting"):
            self.folder.write(
                self.folder.shim_order,
                {"runtime": self._runtime, "workload": self._workload.to_json()},
            )
            self._keep(started=True, proven=False)
            await launch(self.folder)
            self._shim = ShimClient(self.folder, self._heard)
            await self._shim.connect()
            while True:
                said = await self._shim.ask("start", START_ANSWERED_S, deadline=self._deadline())
                if said["phase"] != "ready":
                    break
                await asyncio.sleep(START_RETRY_S)  # the lease ran out meanwhile; a renewal is on its way
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._shim.gone.wait(), PROOF_S)
        ended = self._how_it_ended()
        if ended is not None and ended["reason"] == "start_failed":
            raise ShimGone(ended["detail"])
        self.phase = Phase.RUNNING
        self._proven(ended)

    def _proven(self, ended: dict[str, Any] | None) -> None:
        """It ran, or ended well at once. A command that fails at once never ran: its start costs nothing."""
        if ended is None or ended["code"] == 0:
            self._report(ActualState.RUNNING, durations_ms=self._durations.ms)
            self.state = ActualState.RUNNING
            # Without the note (the job has filled the disk) a restarted agent says once more that it runs.
            with contextlib.suppress(OSError):
                self._keep(started=True, proven=True)

    async def _from_a_living_shim(self) -> None:
        document = self.folder.read(self.folder.placement) or {}
        self._shim = ShimClient(self.folder, self._heard)
        try:
            await self._shim.connect()
            said = await self._shim.ask("renew", deadline=self._deadline())
        except ShimGone:
            self._shim.gone.set()
            said = {}
        if said.get("phase") == "ready":
            await self._begin_anew()
            return
        if not document.get("proven"):
            self._proven(None)
        await self._tend()

    async def _begin_anew(self) -> None:
        """The agent before us was ended between launching the shim and ordering the start: the job never ran."""
        assert self._shim is not None
        end_shim(self.folder)
        await self._shim.gone.wait()
        await self._shim.close()
        if self._kill_reason is not None or self._stop_wanted:
            state = ActualState.STOPPED if self._kill_reason is None else ActualState.KILLED
            self._report(state, reason=self._kill_reason or self.spec.stop_reason)
            self._set_ended(state)
            return
        for left in (self.folder.exit, self.folder.log):
            await asyncio.to_thread(remove_tree, left)
        self._keep(started=False, proven=False)
        self._shim = self._life = None
        self.phase, self.state = Phase.CLAIMING, ActualState.CLAIMED
        self._context.changed()

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

    async def _tend(self) -> None:
        """While it runs: checkpoints, output, and waiting for its end."""
        assert self._shim is not None
        shipping = self._task(self._shipper.run())
        saving = self._task(self._save_when_granted())
        fencing = self._task(self._fence_a_stopped_shim())
        try:
            await self._shim.gone.wait()
        finally:
            for task in (shipping, saving, fencing):
                task.cancel()
            await asyncio.gather(shipping, saving, fencing, return_exceptions=True)
        if self._stopping is not None and not self._stopping.done():
            await asyncio.wait([self._stopping])
        await self._end()

    async def _save_when_granted(self) -> None:
        await self._granted.wait()
        assert self._checkpointing is not None
        await self._checkpointing.run()

    async def _stop_running(self) -> None:
        """SIGTERM; the job's grace; a checkpoint of what it finished; the end."""
        assert self._shim is not None
        with contextlib.suppress(ShimGone):
            self._shim.tell("terminate")
            try:
                await asyncio.wait_for(self._shim.gone.wait(), self.spec.stop_grace_s)
            except TimeoutError:
                await self._last_checkpoint()
                self._kill_shim("stopped")

    async def _last_checkpoint(self) -> None:
        """Whatever the job left in its folder, or a full disk: its end must follow, or it would be billed for ever."""
        if self._checkpointing is None:
            return
        try:
            await self._checkpointing.final()
        except Exception as error:
            log.warning("%s: no final checkpoint: %s", self.spec.placement_id, error)

    async def _end(self) -> None:
        """Its process ended, or its shim was lost."""
        ended = self._how_it_ended()
        if ended is None and self.spec.image is not None:
            await self._without_container()
        if self._kill_reason is not None:
            self._report(ActualState.KILLED, reason=self._kill_reason)
            self._set_ended(ActualState.KILLED)
            return
        if ended is None:
            self._shim_lost()
            return
        self.phase = Phase.ENDING
        self._context.changed()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._granted.wait(), UNGRANTED_END_S)
        if self._granted.is_set():
            try:
                self._make_checkpointing()
            except Exception as error:
                log.warning("%s: no final checkpoint: %s", self.spec.placement_id, error)
            await self._last_checkpoint()
        await self._shipper.finish(LAST_OUTPUT_S)
        document = self.folder.read(self.folder.placement) or {}
        fields = {
            "exit_code": ended["code"],
            "signal": ended["signal"],
            "detail": ended["detail"],
            "durations_ms": {} if document.get("proven") else self._durations.ms,
        }
        if self._stop_wanted:
            self._report(ActualState.STOPPED, reason=self.spec.stop_reason or ended["reason"], **fields)
            self._set_ended(ActualState.STOPPED)
        else:
            self._report(ActualState.EXITED, reason=ended["reason"], **fields)
            self._set_ended(ActualState.EXITED)

    def _how_it_ended(self) -> dict[str, Any] | None:
        """As the shim wrote it down, or only said it where the disk is full; None: it did neither."""
        said: dict[str, Any] | None = self._shim.status.get("exit") if self._shim is not None else None
        return self.folder.read(self.folder.exit) or said

    def _shim_lost(self) -> None:
        """The shim died and took the job along, or the machine was restarted. The server decides what follows."""
        end_leftovers(self._name)
        self._report(
            ActualState.EXITED,
            reason="shim_lost",
            detail="The process that kept the job on its node was ended.",
        )
        self._set_ended(ActualState.EXITED)

    # --- pieces -------------------------------------------------------------------------------------------

    async def _without_container(self) -> None:
        """Its shim and guard may both be gone: nothing is told before it is certain that the container is, too."""
        while not await asyncio.to_thread(end_container, self._name, within_s=CONTAINER_END_S):
            log.warning("%s: the container engine does not answer", self.spec.placement_id)

    @property
    def _runtime(self) -> str:
        return self._context.runtime if self.spec.image is None else "containers"

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

    def _make_checkpointing(self) -> None:
        if self._checkpointing is not None:
            return
        assert self._data_key is not None
        self._cache_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._engine = CheckpointEngine(
            self._context.http,
            self.spec,
            self._data_key,
            self.folder.job / self.spec.checkpoint_path,
            self._cache_dir,
            lambda: job_pids(self.folder, self._container_pid),
        )
        self._checkpointing = Checkpointing(
            self._engine,
            ControlFolder(self.folder.control),
            self.spec,
            on_stale=lambda: self.kill("superseded"),
            paused=lambda: self.frozen,
        )

    @property
    def _container_pid(self) -> int | None:
        applied = self._shim.status.get("applied", {}) if self._shim is not None else {}
        return int(applied["container.pid"]) if "container.pid" in applied else None

    def _deadline(self) -> float:
        deadline = self._context.deadline(self.spec.placement_id, self.spec.epoch)
        return 0.0 if deadline is None or deadline < 0 else deadline

    def _heard(self, _: dict[str, Any]) -> None:
        self._context.changed()

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
