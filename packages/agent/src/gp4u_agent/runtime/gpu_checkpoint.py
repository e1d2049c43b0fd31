"""GPU memory of a job, taken into host memory before the job is dumped and put back afterwards. **Not run on a GPU yet.**

`DeviceCheckpointer` is the port; `CudaCheckpoint` drives NVIDIA's `cuda-checkpoint` by its documented command line (the driver does the
work, from 570 on, in practice 575). The order is lock → checkpoint → (dump) → restore → unlock, for all processes of the job together.
A failure on the way is taken back: the job goes on, unlocked. Where even that fails the job is *lost*, and its owner ends it, so that it
goes on from its last checkpoint instead of standing for ever.

As a program, for the shim, which must not wait: `python -m gp4u_agent.runtime.gpu_checkpoint UTILITY suspend|resume PID …`; 0: done,
1: not done and taken back, 2: lost; its output says why.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

SETTING = "GP4U_GPU_CHECKPOINT"
"""Off unless the node's owner sets it to `on`."""
UTILITY_VARIABLE = "GP4U_CUDA_CHECKPOINT"
DRIVER_MIN = (575, 0)
LOCK_TIMEOUT_S = 10.0
STEP_TIMEOUT_S = 120.0
"""A step copies all of the GPU's memory over PCIe."""
_ASK_TIMEOUT_S = 10.0
_LATE_S = 5.0
_VERSION = re.compile(r"(?:^|\s)(\d+)\.(\d+)")


class DeviceState(Enum):
    """Of a process's GPU context, in the utility's words."""

    RUNNING = "running"
    LOCKED = "locked"
    CHECKPOINTED = "checkpointed"
    FAILED = "failed"


class DeviceRefused(Exception):
    """A step did not work; the message says which and why."""


class DeviceLost(DeviceRefused):
    """It could not be taken back either: the job cannot go on."""


class DeviceCheckpointer(Protocol):
    """What can take one process's GPU memory away and give it back. All but `state` raise DeviceRefused."""

    def state(self, pid: int) -> DeviceState | None:
        """None: the process uses no GPU. Raises DeviceRefused where that cannot be told."""

    def lock(self, pid: int) -> None:
        """Hold back further work for the GPU, and wait for what is under way."""

    def checkpoint(self, pid: int) -> None:
        """Of a locked one: its GPU memory into host memory, and let go of the GPU."""

    def restore(self, pid: int) -> None:
        """The inverse of `checkpoint`: it is locked then."""

    def unlock(self, pid: int) -> None:
        """The inverse of `lock`."""


@dataclass(frozen=True)
class CudaCheckpoint:
    """NVIDIA's utility, at `path`. See `DeviceCheckpointer`."""

    path: str
    lock_timeout_s: float = LOCK_TIMEOUT_S
    step_timeout_s: float = STEP_TIMEOUT_S

    def state(self, pid: int) -> DeviceState | None:
        """A process without CUDA's restore thread uses no GPU: that is how CRIU's own plugin tells."""
        if self._run(["--get-restore-tid"], pid, _ASK_TIMEOUT_S).returncode != 0:
            return None
        asked = self._run(["--get-state"], pid, _ASK_TIMEOUT_S)
        try:
            return DeviceState(asked.stdout.strip())
        except ValueError:
            raise DeviceRefused(f"the GPU state of process {pid} is not known: {_said(asked)}") from None

    def lock(self, pid: int) -> None:
        """See `DeviceCheckpointer`. The driver gives up after the timeout, unlocked; we do a little later."""
        milliseconds = str(round(self.lock_timeout_s * 1000))
        self._act("lock", pid, self.lock_timeout_s + _LATE_S, "--timeout", milliseconds)

    def checkpoint(self, pid: int) -> None:
        """See `DeviceCheckpointer`."""
        self._act("checkpoint", pid, self.step_timeout_s)

    def restore(self, pid: int) -> None:
        """See `DeviceCheckpointer`."""
        self._act("restore", pid, self.step_timeout_s)

    def unlock(self, pid: int) -> None:
        """See `DeviceCheckpointer`."""
        self._act("unlock", pid, self.step_timeout_s)

    def _act(self, action: str, pid: int, within_s: float, *more: str) -> None:
        done = self._run(["--action", action], pid, within_s, *more)
        if done.returncode != 0:
            raise DeviceRefused(f"{action} of process {pid}: {_said(done)}")

    def _run(
        self, operation: list[str], pid: int, within_s: float, *more: str
    ) -> "subprocess.CompletedProcess[str]":
        command = [self.path, *operation, "--pid", str(pid), *more]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise DeviceRefused(
                f"{' '.join(operation)} of process {pid}: no answer in {within_s:g} s"
            ) from error
        except OSError as error:
            raise DeviceRefused(f"{self.path} cannot be run: {error}") from error


def _said(done: "subprocess.CompletedProcess[str]") -> str:
    return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}")[-200:]


def suspend(devices: DeviceCheckpointer, pids: Iterable[int]) -> list[int]:
    """Take the GPU memory of all that use a GPU: those processes. All or none. Raises DeviceRefused, DeviceLost.

    All are locked before the first is checkpointed, so that none waits for another's GPU work in between.
    """
    states = {pid: devices.state(pid) for pid in pids}
    users = [pid for pid, state in states.items() if state is not None]
    strange = [f"{pid} is {state.value}" for pid, state in states.items() if state not in (None, DeviceState.RUNNING)]  # fmt: skip
    if strange:
        raise DeviceRefused(f"not every process is running on its GPU: {', '.join(strange)}")
    try:
        for pid in users:
            devices.lock(pid)
        for pid in users:
            devices.checkpoint(pid)
    except DeviceRefused as error:
        try:
            resume(devices, users)
        except DeviceRefused as worse:
            raise DeviceLost(f"{error}; and it cannot be taken back: {worse}") from error
        raise
    return users


def resume(devices: DeviceCheckpointer, pids: Iterable[int]) -> None:
    """Bring all to running, from wherever each is. The others are brought back although one fails. Raises DeviceLost."""
    failed: list[str] = []
    states: dict[int, DeviceState | None] = {}
    for pid in pids:
        try:
            states[pid] = devices.state(pid)
            if states[pid] is DeviceState.CHECKPOINTED:
                devices.restore(pid)
                states[pid] = DeviceState.LOCKED
        except DeviceRefused as error:
            states.pop(pid, None)
            failed.append(str(error))
    for pid, state in states.items():
        try:
            if state is DeviceState.LOCKED:
                devices.unlock(pid)
            elif state is DeviceState.FAILED:
                failed.append(f"the GPU context of process {pid} has failed")
        except DeviceRefused as error:
            failed.append(str(error))
    if failed:
        raise DeviceLost("; ".join(failed))


@dataclass(frozen=True)
class DeviceFacts:
    """What decides whether GPU memory can be checkpointed on a node.

    Attributes:
        driver: as the kernel module tells it, "580.65.06"; empty: none.
        partitioned: a GPU is in MIG mode.
        shared: NVIDIA's MPS runs.
    """

    switched_on: bool
    utility: str
    driver: str
    machine: str
    partitioned: bool
    shared: bool
    memory_bytes: int
    gpu_memory_bytes: int


def why_not(facts: DeviceFacts) -> str:
    """Why GPU memory is not checkpointed here; empty: the documented conditions hold, which is *not* a proof by doing. Pure.

    What only a job's own calls tell (managed memory, memory shared between processes) the driver refuses at the time.
    """
    if not facts.switched_on:
        return f"checkpoints of GPU memory are not switched on here ({SETTING}=on)"
    if not facts.utility:
        return "NVIDIA's cuda-checkpoint is not installed"
    if facts.machine != "x86_64":
        return "NVIDIA's cuda-checkpoint is for x86-64 only"
    found = _VERSION.search(facts.driver)
    if found is None:
        return "there is no NVIDIA driver"
    if (int(found[1]), int(found[2])) < DRIVER_MIN:
        wanted = ".".join(str(part) for part in DRIVER_MIN)
        return f"NVIDIA's driver {facts.driver} is too old: {wanted} or later is needed"
    if facts.partitioned:
        return "a GPU in MIG mode cannot be checkpointed"
    if facts.shared:
        return "under NVIDIA's MPS GPUs cannot be checkpointed"
    if facts.memory_bytes < facts.gpu_memory_bytes:
        return "the node has less memory than its GPUs, and a checkpoint passes through it"
    return ""


def utility(environment: dict[str, str]) -> str:
    """Where NVIDIA's utility is: as GP4U_CUDA_CHECKPOINT names it, else on the PATH; empty: nowhere."""
    return shutil.which(environment.get(UTILITY_VARIABLE) or "cuda-checkpoint") or ""


def driver_version() -> str:
    """Of the loaded kernel module; empty: there is none."""
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return ""


def mps_runs() -> bool:
    """Whether NVIDIA's multi-process service is up on this machine."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().startswith("nvidia-cuda-mps"):
                return True
        except OSError:
            continue
    return False


def main(arguments: list[str]) -> int:
    """See the module."""
    path, order, *numbers = arguments
    devices, pids = CudaCheckpoint(path), [int(number) for number in numbers]
    try:
        if order == "suspend":
            suspend(devices, pids)
        else:
            resume(devices, pids)
    except DeviceRefused as error:
        sys.stdout.write(str(error)[:400])
        return 2 if isinstance(error, DeviceLost) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
