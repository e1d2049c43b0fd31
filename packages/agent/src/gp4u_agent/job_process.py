"""A job's processes as the agent sees them from outside: which there are, what the job says, how to end what is left."""

import json
import os
import signal
import subprocess
from pathlib import Path

from gp4u_protocol.messages import Progress

from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.runtime import cgroups, processes
from gp4u_agent.runtime.bundle.spec import GROUP as BUNDLE_GROUP

PROGRESS_BYTES_MAX = 64 << 10


def read_progress(folder: PlacementDir) -> Progress | None:
    """What the job says of itself; it is the job's file, so it is neither followed nor believed in size."""
    try:
        fd = os.open(
            folder.control / "progress.json",
            os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
        )
        try:  # not os.fdopen: for a folder it raises and leaves the descriptor open
            said = os.read(fd, PROGRESS_BYTES_MAX)
        finally:
            os.close(fd)
        return Progress.model_validate(json.loads(said))
    except (OSError, ValueError, RecursionError):
        return None


def job_pids(folder: PlacementDir, container_pid: int | None = None) -> list[int]:
    """The processes of the job, as long as its shim lives. Those of a container are not below the shim."""
    identity = folder.read(folder.shim_identity)
    if identity is None or not folder.shim_alive():
        return []
    if container_pid is not None:
        try:
            return cgroups.of_process(container_pid).pids()
        except OSError:
            return []
    return [found.pid for found in processes.descendants(int(identity["pid"]))]


def end_shim(folder: PlacementDir) -> None:
    """SIGKILL to the shim, which takes the job along. Nothing happens when it is gone."""
    identity = folder.read(folder.shim_identity)
    if identity is not None and folder.shim_alive():
        processes.send([int(identity["pid"])], signal.SIGKILL)


def remove_tree(path: Path) -> None:
    """Delete a folder of a job, however deep (Python's own rmtree gives up at a thousand levels) and whatever its modes."""
    if not path.exists():
        return
    if os.geteuid() != 0:
        subprocess.run(["chmod", "-R", "u+rwX", "--", path], capture_output=True, check=False)
    subprocess.run(["rm", "-rf", "--", path], capture_output=True, check=False)


def end_leftovers(name: str) -> None:
    """End whatever still is in the control groups of the placement `name`, and remove them."""
    # A bundle's job is one group further down, and both can be frozen.
    found = [cgroups.find(f"{name}/{BUNDLE_GROUP}"), cgroups.find(name)]
    for groups in found:
        groups.kill_all()
        processes.send(groups.pids(), signal.SIGKILL)
    for groups in reversed(found):
        if "freeze" in groups.purposes:
            groups.thaw()
    for groups in found:
        groups.remove()
