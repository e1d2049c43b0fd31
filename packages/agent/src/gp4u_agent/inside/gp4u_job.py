"""Two lines for a training script under GP4U; at home the same lines do nothing.

    import gp4u_job
    gp4u_job.progress(step, total_steps, loss=loss)
    gp4u_job.checkpoint(step)          # after the files in gp4u_job.checkpoint_dir() are complete
    gp4u_job.wait_for("datasets/train")  # where the job file says that datasets may arrive after the start

Python 3.7 or newer, nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any


class CheckpointFailed(Exception):
    """The checkpoint was not saved; the one before it still is."""


def checkpoint_dir(default: str = "checkpoints") -> str:
    """The folder whose content is saved and restored (made if missing). `default` is used outside GP4U."""
    folder = os.environ.get("GP4U_CHECKPOINT_DIR") or default
    os.makedirs(folder, exist_ok=True)
    return folder


def restored(default: str = "checkpoints") -> bool:
    """Whether there is a saved state to go on from. Ask before writing into the folder."""
    folder = os.environ.get("GP4U_CHECKPOINT_DIR") or default
    there = os.path.isdir(folder) and any(not name.startswith(".") for name in os.listdir(folder))
    return there or _pending() is not None


def pending() -> list[str]:
    """Files of `checkpoint.lazy` that still arrive, relative to the checkpoint folder; empty when all are there, and outside GP4U."""
    return _pending() or []


def wait_for(path: str, timeout_s: float | None = None, default: str = "checkpoints") -> str:
    """Return when a file, or everything in a folder, has arrived; what is waited for is brought next. Answers the full path.

    `path` is relative to the checkpoint folder, or below it. Returns at once for what is there, for what is not in the restored
    checkpoint, and outside GP4U. Raises TimeoutError after `timeout_s` seconds.
    """
    folder = os.path.abspath(os.environ.get("GP4U_CHECKPOINT_DIR") or default)
    full = os.path.normpath(os.path.join(folder, path))
    inside = os.path.relpath(full, folder)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    asked = False
    while (os.path.isdir(full) or not os.path.lexists(full)) and _is_pending(inside):
        if not asked:
            asked = True
            _ask_for(inside)
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"{path} has not arrived within {timeout_s:g} seconds")
        time.sleep(0.02)
    return full


def _pending() -> list[str] | None:
    try:
        with open(os.environ.get("GP4U_RESTORE_PENDING") or os.devnull) as file:
            paths: list[str] = json.load(file)["paths"]
            return paths
    except (OSError, ValueError):
        return None


def _is_pending(inside: str) -> bool:
    below = "" if inside == "." else inside + "/"
    return any(path == inside or path.startswith(below) for path in pending())


def _ask_for(inside: str) -> None:
    folder = os.environ.get("GP4U_CONTROL_DIR")
    if folder and os.path.isdir(folder):
        name = f"want-py-{time.time_ns()}-{os.getpid()}.request"
        _rename_into_place(os.path.join(folder, name), {"path": inside})


def progress(step: int, total_steps: int | None = None, **metrics: float) -> None:
    """Tell how far the job is; metrics are numbers. Shown on the job's page. Costs one small file."""
    path = os.environ.get("GP4U_PROGRESS_FILE")
    if not path:
        return
    numbers = {name: float(value) for name, value in metrics.items()}
    document = {"step": int(step), "total_steps": total_steps and int(total_steps), "metrics": numbers}
    _rename_into_place(path, document)


def checkpoint(step: int | None = None, wait: bool = True, timeout_s: float = 600.0) -> dict[str, Any] | None:
    """Save the checkpoint folder now; with `wait`, return when it is saved.

    Write nothing into the folder until this returns. Raises CheckpointFailed when it was not saved or
    not answered within `timeout_s` seconds. Returns the answer as a dict, or None outside GP4U and without `wait`.
    """
    folder = os.environ.get("GP4U_CONTROL_DIR")
    if not folder or not os.path.isdir(folder):
        return None
    name = f"py-{time.time_ns()}-{os.getpid()}"
    _rename_into_place(
        os.path.join(folder, f"commit-{name}.request"), {"step": None if step is None else int(step)}
    )
    if not wait:
        return None
    answer_path = os.path.join(folder, f"commit-{name}.done")
    deadline = time.monotonic() + timeout_s
    while not os.path.exists(answer_path):
        if time.monotonic() > deadline:
            raise CheckpointFailed(f"no answer within {timeout_s:g} seconds")
        time.sleep(0.02)
    with open(answer_path) as file:
        answer: dict[str, Any] = json.load(file)
    os.unlink(answer_path)
    if not answer.get("ok"):
        raise CheckpointFailed(answer.get("error", "not saved"))
    return answer


def notice() -> dict[str, Any] | None:
    """Why and by when the job has to leave this node; None while it may stay, and outside GP4U. Costs one small file.

    {"reason": "maintenance", "sentence": "...", "deadline": 1767225600.0, "deadline_at": "2026-01-01T00:00:00+00:00",
    "seconds_left": 58.2}. `deadline` is in seconds of this machine's clock, as time.time(). Save what matters with
    checkpoint(): the job is then stopped at once and goes on elsewhere. Do not exit by yourself: exit 0 means done.
    """
    folder = os.environ.get("GP4U_CONTROL_DIR")
    if not folder:
        return None
    try:
        with open(os.path.join(folder, "notice.json")) as file:
            said: dict[str, Any] = json.load(file)
    except (OSError, ValueError):
        return None
    said["seconds_left"] = said["deadline"] - time.time()
    return said


def _rename_into_place(path: str, document: dict[str, Any]) -> None:
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
    with open(temporary, "w") as file:
        json.dump(document, file)
    os.replace(temporary, path)
