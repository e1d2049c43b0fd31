"""An engine, its folder and a platform, for tests of the engine."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gp4u_agent.checkpoint.engine import CheckpointEngine
from gp4u_agent.checkpoint.http import CheckpointHttp
from gp4u_protocol.messages import DesiredRun, PlacementSpec, RestorePoint

DATA_KEY = bytes(range(32))


def placement(job_id: str = "job_1", epoch: int = 1, restore: RestorePoint | None = None) -> PlacementSpec:
    """A placement whose checkpoint folder is `ckpt`."""
    return PlacementSpec(
        placement_id=f"pl_{epoch}",
        job_id=job_id,
        epoch=epoch,
        desired=DesiredRun.RUN,
        job_name="job",
        command="true",
        device_uuids=[],
        cpus=1,
        memory_mb=1,
        disk_mb=1,
        checkpoint_path="ckpt",
        checkpoint_every_s=1,
        restore=restore,
    )


@dataclass
class Node:
    """A node with its own disk, running one placement."""

    http: CheckpointHttp
    root: Path
    epoch: int = 1
    job_id: str = "job_1"
    spec: PlacementSpec | None = None
    data_key: bytes = DATA_KEY
    pids: Callable[[], Iterable[int]] = lambda: ()
    verify: bool = False
    lazy: list[str] = field(default_factory=list)
    engine: CheckpointEngine = field(init=False)

    def __post_init__(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.restart()

    @property
    def folder(self) -> Path:
        return self.root / "job" / "ckpt"

    def restart(self) -> None:
        """A fresh engine on the same disk, as after a restart of the agent."""
        self.engine = CheckpointEngine(
            self.http,
            (self.spec or placement(self.job_id, self.epoch)).model_copy(
                update={"checkpoint_verify": self.verify, "checkpoint_lazy": self.lazy}
            ),
            self.data_key,
            self.folder,
            self.root / "cache",
            self.pids,
            first_delay_s=0.0001,
            cold_folder=self.root / "cold",
        )


def tree(folder: Path) -> dict[str, Any]:
    """Everything in a folder that a checkpoint keeps, comparable."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("folder", path.stat().st_mode & 0o777)
        else:
            found[name] = ("file", path.stat().st_mode & 0o777, path.read_bytes())
    return found


def settle(folder: Path) -> None:
    """Date everything a minute back, so that no snapshot has to wait for it to be quiet."""
    past = (folder.stat().st_mtime_ns // 10**9 - 60) * 10**9
    for path in folder.rglob("*"):
        os.utime(path, ns=(past, past), follow_symlinks=False)
