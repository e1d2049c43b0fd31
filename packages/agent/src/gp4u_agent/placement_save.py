"""Saving a placement: its checkpoints while it runs, and the last one. See `placement`."""

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

from gp4u_protocol.transparent import TransparentFacts

from gp4u_agent.checkpoint.commits import ControlFolder
from gp4u_agent.checkpoint.engine import CheckpointEngine
from gp4u_agent.checkpointing import Checkpointing, DumpFailed
from gp4u_agent.dumps import seal
from gp4u_agent.job_process import job_pids, remove_tree
from gp4u_agent.placement_core import PlacementCore
from gp4u_agent.shim_client import ShimGone
from gp4u_agent.standby.store import StandbyStore

DUMP_TIMEOUT_S = 600.0
DUMP_LOOK_S = 0.05

log = logging.getLogger(__name__)


class Saving(PlacementCore):
    """Checkpoints of one placement."""

    def _make_checkpointing(self, kept: StandbyStore | None = None) -> None:
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
            local=kept,
            dump_folder=self.folder.dump,
            cold_folder=self.folder.cold,
        )
        self._checkpointing = Checkpointing(
            self._engine,
            ControlFolder(self.folder.control),
            self.spec,
            on_stale=lambda: self.kill("superseded"),
            paused=lambda: self.frozen,
            dump=self._dump if self.spec.transparent else None,
        )

    async def _dump(self) -> dict[str, Any] | None:
        """Have the shim dump the whole job, then note and sign it. None: the job has ended. Raises DumpFailed."""
        shim = self._shim
        if shim is None or shim.gone.is_set() or self._how_it_ended() is not None:
            return None
        number, fresh = time.time_ns(), self.folder.path / "dump.new"
        deadline = time.monotonic() + DUMP_TIMEOUT_S
        try:
            while not ((said := shim.status.get("dump")) and said["number"] == number and said["done"]):
                if shim.gone.is_set():
                    return None
                if time.monotonic() > deadline:
                    raise DumpFailed("it did not come to an end")
                if not said or said["number"] != number:  # asked again: a frozen job takes no order
                    shim.tell("dump", number=number, into=str(fresh))
                await asyncio.sleep(DUMP_LOOK_S)
        except ShimGone:
            return None
        if said["why_not"]:
            if self._how_it_ended() is not None:
                return None
            raise DumpFailed(said["why_not"])
        try:
            await asyncio.to_thread(self._seal, fresh)
        except OSError as error:
            raise DumpFailed(str(error)) from error
        return self._made_by.model_dump(mode="json")

    @property
    def _made_by(self) -> TransparentFacts:
        """What the job was started under. The agent may have been started again since, with another choice or another build."""
        noted = (self.folder.read(self.folder.shim_order) or {}).get("whole")
        return TransparentFacts.model_validate(noted) if noted else self._whole_facts

    def _seal(self, fresh: Path) -> None:
        seal(fresh, self.spec.job_id, self.spec.epoch, self._made_by, self._context.sign)
        remove_tree(self.folder.dump)
        os.rename(fresh, self.folder.dump)

    async def _save_when_granted(self) -> None:
        await self._granted.wait()
        assert self._checkpointing is not None
        await self._checkpointing.run()

    async def _last_checkpoint(self) -> bool:
        """Whatever the job left in its folder, or a full disk: its end must follow, or it would be billed for ever. Answers
        whether everything is saved."""
        if self._checkpointing is None:
            return False
        try:
            return await self._checkpointing.final()
        except Exception as error:
            log.warning("%s: no final checkpoint: %s", self.spec.placement_id, error)
            return False
