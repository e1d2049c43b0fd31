"""When a placement's checkpoints are taken: on the job's own request, on an interval, and at the end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from gp4u_protocol.checkpoint.interval import advised_interval_s, smoothed_cost_s
from gp4u_protocol.messages import PlacementSpec

from gp4u_agent.checkpoint.commits import CommitRequest, ControlFolder
from gp4u_agent.checkpoint.engine import CheckpointEngine, Pace
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.transfer import StoreUnreachable
from gp4u_agent.http import StaleEpoch

LOOK_INTERVAL_S = 0.1
FINAL_TIMEOUT_S = 50.0
"""The server takes a stop as done after 90 s; grace and final checkpoint must fit into that."""

log = logging.getLogger(__name__)


class DumpFailed(Exception):
    """The whole job could not be dumped; the message says why. It goes on."""


class Checkpointing:
    """Drives the engine of one placement.

    Args:
        on_stale: called when the server says that another epoch owns the job.
        paused: whether no checkpoint can be taken now (the job is frozen because the link is down).
        dump: for a job that is saved whole: dumps it into the engine's dump folder and says what the commit shall say of it. None
            when there is nothing to dump any more, because the job has ended: its checkpoint folder is saved then. Raises DumpFailed.
    """

    def __init__(
        self,
        engine: CheckpointEngine,
        control: ControlFolder,
        spec: PlacementSpec,
        on_stale: Callable[[], None],
        paused: Callable[[], bool],
        dump: Callable[[], Awaitable[dict[str, Any] | None]] | None = None,
    ) -> None:
        self._dump = dump
        self._engine = engine
        self._control = control
        self._spec = spec
        self._on_stale = on_stale
        self._paused = paused
        self.cost_s: float | None = None
        """Seconds that a checkpoint takes here, smoothed; None before the first."""

    @property
    def every_s(self) -> float:
        """Seconds from the end of one checkpoint to the beginning of the next one on the interval."""
        hazard = self._spec.checkpoint_hazard_per_hour
        if hazard is None or self.cost_s is None:
            return self._spec.checkpoint_every_s
        return advised_interval_s(self.cost_s, hazard)

    async def run(self) -> None:
        """Take checkpoints until cancelled."""
        loop = asyncio.get_running_loop()
        due_at = loop.time() + self.every_s
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            if self._paused():
                continue
            for request in self._control.pending():
                await self._answer(request)
                due_at = loop.time() + self.every_s
            if loop.time() >= due_at:
                await self._snapshot("interval", None)
                due_at = loop.time() + self.every_s

    async def final(self) -> bool:
        """The last one: after the job ended, or before it is ended. Answers whether everything is saved."""
        try:
            async with asyncio.timeout(FINAL_TIMEOUT_S):
                for request in self._control.pending():
                    await self._answer(request)
                return await self._snapshot("final", None) is None
        except TimeoutError:
            log.warning("%s: the final checkpoint took too long", self._spec.placement_id)
            return False

    def close(self) -> None:
        """Let the engine go."""
        self._engine.close()

    async def _answer(self, request: CommitRequest) -> None:
        error = await self._snapshot("job", request.step)
        newest = self._engine.newest
        if error is None and newest is not None and newest.checkpoint_id is not None:
            answer = {
                "ok": True,
                "checkpoint_id": newest.checkpoint_id,
                "epoch": newest.epoch,
                "seq": newest.seq,
            }
        else:
            answer = {"ok": False, "error": error or "nothing_to_save"}
        try:
            self._control.answer(request, answer)
        except OSError as failure:  # the job made the answer impossible; that is its own loss
            log.warning(
                "%s: commit %s cannot be answered: %s", self._spec.placement_id, request.name, failure
            )

    async def _snapshot(self, trigger: str, step: int | None) -> str | None:
        """None when it is saved (or nothing changed), else a stable code of what went wrong."""
        pace = None
        if self._spec.checkpoint_hazard_per_hour is not None and self.cost_s is not None:
            pace = Pace(every_s=self.every_s, cost_s=self.cost_s)
        began = time.monotonic()
        try:
            whole = await self._dump() if self._dump is not None else None
            saved = await self._engine.snapshot(trigger, step, pace=pace, whole=whole)
        except DumpFailed as failure:
            log.warning("%s: the job could not be dumped: %s", self._spec.placement_id, failure)
            return "dump_failed"
        except StaleEpoch:
            self._on_stale()
            return "stale_epoch"
        except (StoreUnreachable, HttpFailure) as failure:
            log.warning("%s: checkpoint not saved: %s", self._spec.placement_id, failure)
            return "store_unreachable"
        except Exception as failure:
            # The folder is the job's: whatever it did to it must not end the care for the job.
            log.warning("%s: checkpoint not possible: %s", self._spec.placement_id, failure)
            return "folder_unreadable"
        if saved is not None:
            self.cost_s = smoothed_cost_s(self.cost_s, time.monotonic() - began)
        return None
