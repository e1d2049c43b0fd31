"""A job whose own start costs next to nothing: it counts, holds some MiB of state and saves a twentieth of it at a time.

So what a failover takes with it is the platform's own time; what a real program needs to import and load comes on top.
"""

import argparse
import os
import time
from pathlib import Path

import gp4u_job

PARTS = 20
STEP_S = 0.02
PROGRESS_EVERY = 10
STATE = Path(os.environ["GP4U_CHECKPOINT_DIR"])


def write(path: Path, data: bytes) -> None:
    """Write beside, then rename into place."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    temporary.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--save-every-s", type=float, default=4.0)
    arguments = parser.parse_args()
    part_bytes = arguments.mib * (1 << 20) // PARTS
    counter = STATE / "step"
    if counter.exists():
        step = int(counter.read_text())
        held = sum(len((STATE / f"part-{number:02}").read_bytes()) for number in range(PARTS))
        print(f"resumed at step {step} with {held} bytes", flush=True)
    else:
        step = 0
        for number in range(PARTS):
            write(STATE / f"part-{number:02}", os.urandom(part_bytes))
        print("fresh start", flush=True)
    saves, save_at = 0, 0.0
    while True:
        step += 1
        if step % PROGRESS_EVERY == 1:
            gp4u_job.progress(step)
        if time.monotonic() >= save_at:
            write(STATE / f"part-{saves % PARTS:02}", os.urandom(part_bytes))
            write(counter, str(step).encode())
            gp4u_job.checkpoint(step=step, wait=False)
            saves, save_at = saves + 1, time.monotonic() + arguments.save_every_s
        time.sleep(STEP_S)


if __name__ == "__main__":
    main()
