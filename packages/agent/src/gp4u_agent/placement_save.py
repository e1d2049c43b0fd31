"""Saving a placement: its checkpoints while it runs, and the last one. See `placement`."""

import logging

from gp4u_agent.checkpoint.commits import ControlFolder
from gp4u_agent.checkpoint.engine import CheckpointEngine
from gp4u_agent.checkpointing import Checkpointing
from gp4u_agent.job_process import job_pids
from gp4u_agent.placement_core import PlacementCore

log = logging.getLogger(__name__)


class Saving(PlacementCore):
    """Checkpoints of one placement."""

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

    async def _save_when_granted(self) -> None:
        await self._granted.wait()
        assert self._checkpointing is not None
        await self._checkpointing.run()

    async def _last_checkpoint(self) -> None:
        """Whatever the job left in its folder, or a full disk: its end must follow, or it would be billed for ever."""
        if self._checkpointing is None:
            return
        try:
            await self._checkpointing.final()
        except Exception as error:
            log.warning("%s: no final checkpoint: %s", self.spec.placement_id, error)
