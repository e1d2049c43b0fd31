"""The renter's job: counts steps, keeps its state in files, and tells a witness outside the product's reach what it does.

The witness listens on the node's own loopback address, which no fault of the lab touches. A frozen job tells nothing, so two
runs that overlap are seen as such. Stamps are CLOCK_BOOTTIME. Standard library and `gp4u_job` only.

    python count.py --seed S --steps N --pace-s 0.2 --save-every 5 --state-bytes 65536 --ballast 2 --ballast-bytes 1048576
"""

import argparse
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

import content
import gp4u_job

WITNESS = ("127.0.0.1", 7007)
SAVE_PATIENCE_S = 60.0
BREATH_S = 0.2

parser = argparse.ArgumentParser()
parser.add_argument("--seed", required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--pace-s", type=float, default=0.2)
parser.add_argument("--save-every", type=int, default=5)
parser.add_argument("--state-bytes", type=int, default=65_536)
parser.add_argument("--ballast", type=int, default=0)
parser.add_argument("--ballast-bytes", type=int, default=1 << 20)
options = parser.parse_args()

to_witness = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
who = {
    "job": os.environ["GP4U_JOB_ID"],
    "epoch": int(os.environ["GP4U_EPOCH"]),
    "run": os.urandom(6).hex(),
}


def tell(what: str, **more: object) -> None:
    record = {"at": time.clock_gettime(time.CLOCK_BOOTTIME), "what": what, **who, **more}
    to_witness.sendto(json.dumps(record).encode(), WITNESS)


def breathe() -> None:
    """A word several times a second, also while a commit is waited for: only a process that stands still is silent."""
    while True:
        time.sleep(BREATH_S)
        tell("alive")


folder = Path(gp4u_job.checkpoint_dir())
state = folder / "state.bin"
step = 0
if state.exists():
    found = state.read_bytes()
    step = content.step_of(found)
    if found != content.state(options.seed, step, options.state_bytes):
        tell("damaged", step=step, detail="state.bin is not what was saved")
        sys.exit(3)
    for number in range(options.ballast):
        if (folder / f"ballast-{number}").read_bytes() != content.ballast(
            options.seed, number, options.ballast_bytes
        ):
            tell("damaged", step=step, detail=f"ballast-{number} is not what was saved")
            sys.exit(3)
tell("began", step=step)
threading.Thread(target=breathe, daemon=True).start()
if not state.exists():
    for number in range(options.ballast):
        (folder / f"ballast-{number}").write_bytes(
            content.ballast(options.seed, number, options.ballast_bytes)
        )


def write_state() -> None:
    temporary = folder / ".state.new"
    temporary.write_bytes(content.state(options.seed, step, options.state_bytes))
    temporary.replace(state)


def save() -> None:
    tell("asked", step=step)
    try:
        gp4u_job.checkpoint(step, timeout_s=SAVE_PATIENCE_S)
    except gp4u_job.CheckpointFailed as failure:
        tell("refused", step=step, detail=str(failure))
    else:
        tell("acknowledged", step=step)


while step < options.steps:
    time.sleep(options.pace_s)
    step += 1
    write_state()
    tell("step", step=step)
    print(f"step {step}", flush=True)
    gp4u_job.progress(step, options.steps)
    if options.save_every and step % options.save_every == 0:
        save()
tell("finished", step=step)
