"""Starting a placement, or taking it up again after a restart of the agent. See `placement`."""

import asyncio
import contextlib
import logging
import os
from functools import partial
from typing import Any

from gp4u_protocol.messages import ActualState
from gp4u_protocol.transparent import why_not_restorable

from gp4u_agent.checkpoint.engine import RestoreResult
from gp4u_agent.dumps import DumpRefused, extract_checkpoint_folder, verify
from gp4u_agent.http import StaleEpoch, with_retries
from gp4u_agent.job_process import end_shim, remove_tree
from gp4u_agent.placement_run import Running
from gp4u_agent.reconcile import Phase
from gp4u_agent.runtime.containers import images
from gp4u_agent.runtime.mounts import give_to, job_uid
from gp4u_agent.shim_client import ShimClient, ShimGone, launch
from gp4u_agent.standby.store import StandbyStore
from gp4u_agent.starting import fetch_anew, take_folder, why_not_started

PROOF_S = 0.25
"""A job counts as started when its command was executed and lived this long, or ended well before."""
PROOF_RESUMED_S = 0.05
"""The same for a job that has saved something: its command ran elsewhere, and what it waits for is the renter's time."""
START_RETRY_S = 0.1
START_ANSWERED_S = 60.0
"""A container engine takes seconds, on a busy machine many."""
RESTORE_ANSWERED_S = 900.0
"""A dump is as large as the job's memory."""

log = logging.getLogger(__name__)


class Starting(Running):
    """The beginning of one placement."""

    async def _from_the_beginning(self) -> None:
        try:
            kept = self._context.standbys.take(self.spec.job_id)
            self._kept_for_job = kept is not None
            try:
                await self._prepare(kept)
                if await self._engine.arrivals() is None:
                    self._release_kept()
                await self._start_job()
            except BaseException:
                self._release_kept()
                raise
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

    async def _prepare(self, kept: StandbyStore | None) -> None:
        """`kept`: what lies here already because this node stood by for the job."""
        self.folder.path.mkdir(mode=0o700, exist_ok=True)
        await asyncio.to_thread(remove_tree, self.folder.cold)
        for folder in (self.folder.job, self.folder.control):
            await asyncio.to_thread(remove_tree, folder)
            folder.mkdir(mode=0o755)
        self._keep(started=False, proven=False)
        if self.spec.upload_id is not None:
            self._enter(ActualState.FETCHING)
            with self._durations.measured("fetching"):
                if kept is None or not await asyncio.to_thread(take_folder, kept, self.folder):
                    await with_retries(lambda: fetch_anew(self._context.http, self.spec, self.folder))
        if self.spec.image is not None:
            await self._bring_image(self.spec.image)
        self._make_checkpointing(kept)
        self._enter(ActualState.RESTORING)
        with self._durations.measured("restoring"):
            restored = await self._engine.restore()
            if restored.dumped_by is not None:
                await self._take_in(restored, restored.dumped_by)
            await self._expect_cold_files()

    async def _take_in(self, restored: RestoreResult, public_key: str) -> None:
        """A dump of the whole job is here. Where it cannot be restored, the job begins again with its checkpoint folder.

        Raises DumpRefused, OSError, subprocess.SubprocessError.
        """
        job_id, epoch = restored.origin_job_id or self.spec.job_id, restored.epoch or 0
        note = await asyncio.to_thread(verify, self.folder.dump, job_id, epoch, public_key)
        # A fork is another job, with another user id: the dump carries the origin's.
        whole = self.spec.transparent and restored.origin_job_id is None
        if whole and (why_not := why_not_restorable(note.made_by, self._whole_facts)):
            raise DumpRefused(f"the whole job cannot be restored on this node: {why_not}")
        if not whole:
            uid = None
            if os.geteuid() == 0:
                uid = job_uid(self.spec.job_id)
                await asyncio.to_thread(give_to, self.folder.job, uid)
            await asyncio.to_thread(
                extract_checkpoint_folder, self.folder.dump, self.folder.job, self.spec.checkpoint_path, uid
            )
        self._restored_whole = whole

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
                {
                    "runtime": self._runtime,
                    "workload": self._workload.to_json(),
                    "restore": str(self.folder.dump) if self._restored_whole else None,
                    "whole": self._whole_facts.model_dump(mode="json") if self.spec.transparent else None,
                },
            )
            self._keep(started=True, proven=False)
            await launch(self.folder)
            self._shim = ShimClient(self.folder, self._heard)
            await self._shim.connect()
            while True:
                within_s = RESTORE_ANSWERED_S if self._restored_whole else START_ANSWERED_S
                said = await self._shim.ask("start", within_s, deadline=self._deadline())
                if said["phase"] != "ready":
                    break
                await asyncio.sleep(START_RETRY_S)  # the lease ran out meanwhile; a renewal is on its way
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._shim.gone.wait(), PROOF_S if self.spec.restore is None else PROOF_RESUMED_S
                )
        ended = self._how_it_ended()
        if ended is not None and ended["reason"] == "start_failed":
            raise DumpRefused(ended["detail"]) if self._restored_whole else ShimGone(ended["detail"])
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
