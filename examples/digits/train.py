"""Trains a small network on handwritten digits with plain NumPy, and survives the loss of its node.

Every step is a pure function of (seed, step, weights), so the final weights are the same, byte for byte, whether the
job ran in one piece or was restored in the middle of it on another machine of the same architecture.
"""

import argparse
import gzip
import hashlib
import importlib.util
import os
import time
from pathlib import Path

# One thread: the order of floating point additions then never depends on the machine's core count.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
# One kernel: OpenBLAS otherwise picks code by CPU model, and two models may round differently.
os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")

import numpy as np

try:
    import gp4u_job
except ImportError:  # at home, outside GP4U
    gp4u_job = None

CHECKPOINTS = Path(os.environ.get("GP4U_CHECKPOINT_DIR", "ckpt"))
SEED = 20_260
HIDDEN = 128
BATCH = 64


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 images of 8 x 8 pixels (UCI Optical Recognition of Handwritten Digits), from the scikit-learn package."""
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    with gzip.open(package / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    return table[:, :-1] / 16.0, table[:, -1].astype(np.int64)


def fresh_weights(ballast_mib: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(SEED)
    weights = {
        "w1": generator.normal(0, 0.1, (64, HIDDEN)),
        "b1": np.zeros(HIDDEN),
        "w2": generator.normal(0, 0.1, (HIDDEN, 10)),
        "b2": np.zeros(10),
    }
    if ballast_mib:  # makes the checkpoint as heavy as that of a larger model
        weights["ballast"] = generator.integers(0, 1 << 62, ballast_mib << 17, dtype=np.int64)
    return weights


def train_step(
    weights: dict[str, np.ndarray], images: np.ndarray, labels: np.ndarray, step: int, rate: float
) -> float:
    """One step of gradient descent on the batch that belongs to `step`. Returns the loss."""
    chosen = np.random.default_rng([SEED, step]).choice(len(images), BATCH, replace=False)
    x, y = images[chosen], labels[chosen]
    hidden = np.maximum(x @ weights["w1"] + weights["b1"], 0)
    logits = hidden @ weights["w2"] + weights["b2"]
    logits -= logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    chances = odds / odds.sum(axis=1, keepdims=True)
    loss = float(-np.log(chances[np.arange(BATCH), y]).mean())
    chances[np.arange(BATCH), y] -= 1
    chances /= BATCH
    back = (chances @ weights["w2"].T) * (hidden > 0)
    weights["w2"] -= rate * hidden.T @ chances
    weights["b2"] -= rate * chances.sum(axis=0)
    weights["w1"] -= rate * x.T @ back
    weights["b1"] -= rate * back.sum(axis=0)
    return loss


def save(weights: dict[str, np.ndarray], step: int) -> None:
    """Write beside, then rename into place: a checkpoint is there as a whole or not at all."""
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    temporary = CHECKPOINTS / "weights.npz.tmp"
    with temporary.open("wb") as file:
        np.savez(file, step=np.int64(step), **weights)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(CHECKPOINTS / "weights.npz")


def load() -> tuple[dict[str, np.ndarray], int] | None:
    path = CHECKPOINTS / "weights.npz"
    if not path.exists():
        return None
    with np.load(path) as archive:
        weights = {name: archive[name] for name in archive.files if name != "step"}
        return weights, int(archive["step"])


def fingerprint(weights: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].tobytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--steps-per-epoch", type=int, default=28)
    parser.add_argument("--save-every", type=int, default=1, help="epochs between checkpoints")
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--pace-ms", type=float, default=0, help="sleep this long a step, to watch it work")
    parser.add_argument("--ballast-mib", type=int, default=0, help="grow the checkpoint by this much")
    arguments = parser.parse_args()

    images, labels = digits()
    restored = load()
    weights, step = restored if restored else (fresh_weights(arguments.ballast_mib), 0)
    print(
        f"epoch {os.environ.get('GP4U_EPOCH', '-')}: {'resumed at step ' + str(step) if restored else 'fresh start'}",
        flush=True,
    )
    last = arguments.epochs * arguments.steps_per_epoch
    while step < last:
        loss = train_step(weights, images, labels, step, arguments.rate)
        step += 1
        if arguments.pace_ms:
            time.sleep(arguments.pace_ms / 1000)
        if gp4u_job:
            gp4u_job.progress(step, total_steps=last, loss=loss)
        if step % (arguments.steps_per_epoch * arguments.save_every) == 0 or step == last:
            save(weights, step)
            if gp4u_job:
                gp4u_job.checkpoint(step=step, wait=False)
            hidden = np.maximum(images @ weights["w1"] + weights["b1"], 0)
            accuracy = float(((hidden @ weights["w2"] + weights["b2"]).argmax(axis=1) == labels).mean())
            print(f"step {step}/{last}  loss {loss:.4f}  accuracy {accuracy:.4f}", flush=True)
    print(f"weights sha256 {fingerprint(weights)}", flush=True)


if __name__ == "__main__":
    main()
