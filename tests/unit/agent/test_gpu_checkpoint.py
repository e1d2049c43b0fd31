"""The order of steps around a dump of GPU memory, and the utility's command line, held by a program that keeps its documented contract.

No GPU is here: what is proven is what we ask of the utility and what we do when it refuses, not what the driver does.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gp4u_agent.runtime import gpu_checkpoint
from gp4u_agent.runtime.gpu_checkpoint import (
    CudaCheckpoint,
    DeviceFacts,
    DeviceLost,
    DeviceRefused,
    DeviceState,
    resume,
    suspend,
    why_not,
)

STAND_IN = """#!/bin/sh
# Keeps the state of process N in the file N and a log of what it was asked; `refuse.lock.7` and `hang.lock.7` are orders of the test,
# `then.7` is the state that a refusal leaves behind.
cd {folder!r} || exit 2
timed=
while [ $# -gt 0 ]; do
    case $1 in
    --get-restore-tid | --get-state) action=$1 ;;
    --action) action=$2; shift ;;
    --pid) pid=$2; shift ;;
    --timeout) timed=" timed"; shift ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
if [ ! -e "$pid" ]; then echo "Could not find restore thread" >&2; exit 1; fi
read -r state < "$pid"
case $action in
--get-restore-tid) echo "$((pid + 1))"; exit ;;
--get-state) echo "$state"; exit ;;
lock) before=running after=locked ;;
checkpoint) before=locked after=checkpointed ;;
restore) before=checkpointed after=locked ;;
unlock) before=locked after=running ;;
esac
echo "$action $pid$timed" >> log
[ -e "hang.$action.$pid" ] && exec sleep 60
if [ -e "refuse.$action.$pid" ] || [ "$state" != "$before" ]; then
    [ -e "then.$pid" ] && cat "then.$pid" > "$pid"
    echo "operation not permitted" >&2
    exit 1
fi
echo "$after" > "$pid"
"""


class Utility:
    """The stand-in, with processes 7 and 8 on a GPU, and 9 on none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        program = folder / "cuda-checkpoint"
        program.write_text(STAND_IN.format(folder=str(folder)))
        program.chmod(0o755)
        for pid in ("7", "8"):
            (folder / pid).write_text("running\n")
        self.devices = CudaCheckpoint(str(program), lock_timeout_s=5.0, step_timeout_s=30.0)

    def tell(
        self, refuse: tuple[str, ...] = (), hang: tuple[str, ...] = (), then: dict[str, str] | None = None
    ) -> None:
        """Instead of what was told before."""
        for old in [
            *self._folder.glob("refuse.*"),
            *self._folder.glob("hang.*"),
            *self._folder.glob("then.*"),
        ]:
            old.unlink()
        for kind, steps in (("refuse", refuse), ("hang", hang)):
            for step in steps:
                (self._folder / f"{kind}.{step.replace(' ', '.')}").touch()
        for pid, state in (then or {}).items():
            (self._folder / f"then.{pid}").write_text(state + "\n")

    def asked(self) -> list[str]:
        log = self._folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def states(self) -> dict[str, str]:
        return {pid: (self._folder / pid).read_text().strip() for pid in ("7", "8")}


@pytest.fixture
def utility(tmp_path: Path) -> Utility:
    return Utility(tmp_path)


def test_all_are_locked_before_any_is_checkpointed_and_all_restored_before_any_goes_on(
    utility: Utility,
) -> None:
    assert suspend(utility.devices, [7, 9, 8]) == [7, 8]
    assert utility.asked() == ["lock 7 timed", "lock 8 timed", "checkpoint 7", "checkpoint 8"]
    assert utility.states() == {"7": "checkpointed", "8": "checkpointed"}
    resume(utility.devices, [7, 8, 9])
    assert utility.asked()[4:] == ["restore 7", "restore 8", "unlock 7", "unlock 8"]
    assert utility.states() == {"7": "running", "8": "running"}
    assert utility.devices.state(9) is None
    assert utility.devices.state(7) is DeviceState.RUNNING


@pytest.mark.parametrize("refused", ["lock 7", "lock 8", "checkpoint 7", "checkpoint 8"])
def test_a_failure_in_the_middle_leaves_the_job_running_unlocked(utility: Utility, refused: str) -> None:
    utility.tell(refuse=(refused,))
    action, pid = refused.split()
    with pytest.raises(DeviceRefused, match=f"{action} of process {pid}: operation not permitted") as error:
        suspend(utility.devices, [7, 8])
    assert not isinstance(error.value, DeviceLost)
    assert utility.states() == {"7": "running", "8": "running"}


def test_what_cannot_be_taken_back_is_lost_and_the_others_are_brought_back_all_the_same(
    utility: Utility,
) -> None:
    utility.tell(refuse=("checkpoint 8", "restore 7"))
    with pytest.raises(
        DeviceLost, match=r"checkpoint of process 8.*cannot be taken back: restore of process 7"
    ):
        suspend(utility.devices, [7, 8])
    assert utility.states() == {"7": "checkpointed", "8": "running"}
    utility.tell(refuse=("lock 8",))
    resume(utility.devices, [7, 8])
    assert utility.states() == {"7": "running", "8": "running"}


def test_a_context_that_failed_is_lost(utility: Utility) -> None:
    """What managed memory does, by the utility's own documentation: no good state is kept."""
    utility.tell(refuse=("checkpoint 7",), then={"7": "failed"})
    with pytest.raises(DeviceLost, match="the GPU context of process 7 has failed"):
        suspend(utility.devices, [7, 8])
    assert utility.states() == {"7": "failed", "8": "running"}


def test_nothing_is_touched_while_one_is_in_another_state(utility: Utility) -> None:
    utility.devices.lock(8)
    with pytest.raises(DeviceRefused, match="8 is locked"):
        suspend(utility.devices, [7, 8])
    assert utility.asked() == ["lock 8 timed"]


def test_a_step_that_hangs_is_given_up_and_taken_back(utility: Utility) -> None:
    utility.tell(hang=("checkpoint 7",))
    impatient = replace(utility.devices, step_timeout_s=1.0)
    with pytest.raises(DeviceRefused, match="no answer in 1 s"):
        suspend(impatient, [7])
    assert utility.asked()[:3] == ["lock 7 timed", "checkpoint 7", "unlock 7"]


def test_the_program_tells_the_shim_how_it_went(utility: Utility) -> None:
    def ran(order: str) -> tuple[int, str]:
        command = [sys.executable, "-m", gpu_checkpoint.__name__, utility.devices.path, order, "7", "8"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
        return done.returncode, done.stdout

    assert ran("suspend") == (0, "")
    utility.tell(refuse=("restore 7",))
    assert ran("resume") == (2, "restore of process 7: operation not permitted")
    assert utility.states() == {"7": "checkpointed", "8": "running"}


FITTING = DeviceFacts(
    switched_on=True,
    utility="/usr/bin/cuda-checkpoint",
    driver="580.65.06",
    machine="x86_64",
    partitioned=False,
    shared=False,
    memory_bytes=128 << 30,
    gpu_memory_bytes=80 << 30,
)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (FITTING, ""),
        (replace(FITTING, driver="575.51"), ""),
        (replace(FITTING, switched_on=False), "not switched on"),
        (replace(FITTING, utility=""), "not installed"),
        (replace(FITTING, machine="aarch64"), "x86-64 only"),
        (replace(FITTING, driver=""), "no NVIDIA driver"),
        (replace(FITTING, driver="570.86.10"), "570.86.10 is too old: 575.0"),
        (replace(FITTING, partitioned=True), "MIG"),
        (replace(FITTING, shared=True), "MPS"),
        (replace(FITTING, memory_bytes=64 << 30), "less memory than its GPUs"),
    ],
)
def test_where_gpu_memory_is_checkpointed_and_why_not(facts: DeviceFacts, why: str) -> None:
    said = why_not(facts)
    assert (why in said) if why else (said == "")
