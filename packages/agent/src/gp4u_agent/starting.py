"""What starting a placement takes: the job's files, the workload for the shim, how long it took, why it failed."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from gp4u_protocol.messages import PlacementSpec

from gp4u_agent.checkpoint.engine import NothingRestorable
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.transfer import StoreUnreachable
from gp4u_agent.dumps import DumpRefused
from gp4u_agent.http import AgentHttp
from gp4u_agent.job_files import BadArchive, fetch
from gp4u_agent.job_process import remove_tree
from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.runtime.containers.images import ImageUnavailable
from gp4u_agent.runtime.port import Limits, Workload
from gp4u_agent.shim_client import ShimGone
from gp4u_agent.standby.store import StandbyStore


class Durations:
    """How long each step of a start took. `ms` goes out with the report that ends the start."""

    def __init__(self) -> None:
        self.ms: dict[str, int] = {}

    @contextlib.contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Note the time that the block takes, whether it succeeds or not."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.ms[name] = round((time.monotonic() - began) * 1000)


async def fetch_anew(http: AgentHttp, spec: PlacementSpec, folder: PlacementDir) -> None:
    """The folder sent with the job, into an empty one. Raises BadArchive, HttpFailure or StaleEpoch."""
    assert spec.upload_id is not None
    await asyncio.to_thread(remove_tree, folder.job)
    folder.job.mkdir(mode=0o755)
    await fetch(http, spec.upload_id, folder.job, spec.disk_mb << 20)


def take_folder(kept: StandbyStore, folder: PlacementDir) -> bool:
    """The folder sent with the job from where it was unpacked beforehand. False: it is not there; nothing changed."""
    if not kept.job_folder.is_dir():
        return False
    remove_tree(folder.job)
    if kept.hand_over_job_folder(folder.job):
        return True
    folder.job.mkdir(mode=0o755)
    return False


def workload_of(spec: PlacementSpec, name: str, folder: PlacementDir, inside_dir: Path) -> Workload:
    """What the shim starts, with the bounds it keeps."""
    ids = {"GP4U_JOB_ID": spec.job_id, "GP4U_EPOCH": str(spec.epoch)}
    return Workload(
        name=name,
        command=spec.command,
        environment={**spec.environment, **ids},
        job_dir=folder.job,
        control_dir=folder.control,
        inside_dir=inside_dir,
        checkpoint_path=spec.checkpoint_path,
        limits=Limits(memory_bytes=spec.memory_mb << 20, disk_bytes=spec.disk_mb << 20, cpus=spec.cpus),
        network=spec.network,
        devices=list(spec.device_uuids),
        image=spec.image,
        owner=spec.job_id,
        whole=spec.transparent,
    )


def why_not_started(error: Exception) -> tuple[str, str]:
    """(stable reason, sentence for the renter). The reasons of hosts are not held against the job."""
    if isinstance(error, BadArchive):
        return "bad_job_folder", str(error)
    if isinstance(error, ImageUnavailable):
        return "image_unavailable", str(error)
    if isinstance(error, NothingRestorable | DumpRefused):
        return "restore_failed", str(error)
    if isinstance(error, HttpFailure | StoreUnreachable):
        return "fetch_failed", f"The job's files could not be fetched: {error}"
    if isinstance(error, ShimGone):
        return "start_failed", str(error)
    return "agent_error", f"{type(error).__name__}: {error}"
