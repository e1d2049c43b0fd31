"""However large a job's state, saving and restoring it takes a bounded amount of the node's memory."""

import json
import subprocess
import sys
from pathlib import Path

MIB = 1 << 20
SIZE_MIB = 384
BOUND_MIB = 256


def test_a_checkpoint_of_384_mib_is_saved_and_restored_in_256(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.checkpoints.memory_probe", str(tmp_path), str(SIZE_MIB)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peaks = {name: peak / MIB for name, peak in json.loads(done.stdout).items()}
    assert max(peaks.values()) <= BOUND_MIB, f"MiB over what was used before: {peaks}"
