"""What jobs call: the command and the helper, as real processes, under GP4U and at home."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gp4u_agent import inside
from gp4u_agent.checkpoint.commits import ControlFolder
from gp4u_agent.pending_board import PendingBoard


@contextmanager
def answering(folder: Path, answer: dict[str, object]) -> Iterator[list[int | None]]:
    """An agent that answers every request in `folder`."""
    steps: list[int | None] = []
    stop = threading.Event()

    def serve() -> None:
        control = ControlFolder(folder)
        while not stop.wait(0.01):
            for request in control.pending():
                steps.append(request.step)
                control.answer(request, answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield steps
    stop.set()
    thread.join()


def command(*arguments: str, control: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"GP4U_CONTROL_DIR": str(control)} if control else {})}
    return subprocess.run(
        [str(inside.COMMAND), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def helper(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import gp4u_job\n{code}"],
        env={**os.environ, "PYTHONPATH": str(inside.FOLDER), **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_command_waits_until_it_is_saved(tmp_path: Path) -> None:
    with answering(tmp_path, {"ok": True, "seq": 1}) as steps:
        assert command("--step", "41", control=tmp_path).returncode == 0
        assert command(control=tmp_path).returncode == 0
    assert steps == [41, None]
    assert list(tmp_path.iterdir()) == [], "nothing is left in the folder"


def test_the_command_says_when_it_was_not_saved(tmp_path: Path) -> None:
    with answering(tmp_path, {"ok": False, "error": "disk_full"}):
        done = command(control=tmp_path)
    assert done.returncode == 1
    assert "disk_full" in done.stderr


def test_the_command_does_not_wait_for_ever_or_when_told_not_to(tmp_path: Path) -> None:
    assert command("--no-wait", control=tmp_path).returncode == 0
    assert command("--timeout", "0", control=tmp_path).returncode == 3
    assert len(ControlFolder(tmp_path).pending()) == 2


def test_the_command_at_home_does_nothing(tmp_path: Path) -> None:
    assert command("--step", "1").returncode == 0
    assert command("--help").stdout.startswith("Usage: gp4u-checkpoint")
    assert command(control=tmp_path / "gone").returncode == 0


@pytest.mark.parametrize("wrong", [["--step"], ["--step", "x"], ["--step", "-1"], ["--what"]])
def test_wrong_use_of_the_command_is_said(wrong: list[str], tmp_path: Path) -> None:
    done = command(*wrong, control=tmp_path)
    assert done.returncode == 2
    assert done.stderr


def test_the_helper_saves_and_reports(tmp_path: Path) -> None:
    control, folder, progress = tmp_path / "control", tmp_path / "ckpt", tmp_path / "progress.json"
    control.mkdir()
    environment = {
        "GP4U_CONTROL_DIR": str(control),
        "GP4U_CHECKPOINT_DIR": str(folder),
        "GP4U_PROGRESS_FILE": str(progress),
    }
    with answering(control, {"ok": True, "seq": 3}) as steps:
        done = helper(
            "assert not gp4u_job.restored()\n"
            "open(gp4u_job.checkpoint_dir() + '/a', 'w').write('x')\n"
            "assert gp4u_job.restored()\n"
            "gp4u_job.progress(7, 10, loss=0.5)\n"
            "print(gp4u_job.checkpoint(7)['seq'])",
            **environment,
        )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert steps == [7]
    assert json.loads(progress.read_text()) == {"step": 7, "total_steps": 10, "metrics": {"loss": 0.5}}


def test_the_helper_raises_when_it_was_not_saved(tmp_path: Path) -> None:
    with answering(tmp_path, {"ok": False, "error": "stale_epoch"}):
        done = helper("gp4u_job.checkpoint()", GP4U_CONTROL_DIR=str(tmp_path))
    assert "CheckpointFailed: stale_epoch" in done.stderr
    started = time.monotonic()
    done = helper("gp4u_job.checkpoint(timeout_s=0)", GP4U_CONTROL_DIR=str(tmp_path))
    assert "CheckpointFailed: no answer" in done.stderr
    assert time.monotonic() > started


def test_the_helper_at_home_does_nothing(tmp_path: Path) -> None:
    done = helper(
        f"import os; os.chdir({str(tmp_path)!r})\n"
        "gp4u_job.progress(1, 2, loss=1)\nassert gp4u_job.checkpoint(1) is None\nprint(gp4u_job.checkpoint_dir())"
    )
    assert (done.returncode, done.stdout) == (0, "checkpoints\n"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_the_helper_waits_for_what_still_arrives_and_asks_for_it(tmp_path: Path) -> None:
    folder, pending = tmp_path / "ckpt", tmp_path / "restore-pending.json"
    folder.mkdir()
    (folder / "here").write_text("x")
    pending.write_text(json.dumps({"files": 1, "bytes": 1, "paths": ["data/a"]}))
    environment = {
        "GP4U_CHECKPOINT_DIR": str(folder),
        "GP4U_CONTROL_DIR": str(tmp_path),
        "GP4U_RESTORE_PENDING": str(pending),
    }
    done = helper(
        "assert gp4u_job.pending() == ['data/a']\n"
        "assert gp4u_job.wait_for('here') and gp4u_job.wait_for('not in the checkpoint')\n"
        "try: gp4u_job.wait_for('data', timeout_s=0)\nexcept TimeoutError: print('not yet')",
        **environment,
    )
    assert (done.returncode, done.stdout) == (0, "not yet\n"), done.stderr
    (tmp_path / "want-link.request").symlink_to("/etc/passwd")
    (tmp_path / "want-nonsense.request").write_text("[" * 3000)
    board = PendingBoard(tmp_path)
    assert set(board.wanted()) == {"data"}
    assert not list(tmp_path.glob("want-*")), "each request is taken once, whatever it is"
    pending.unlink()
    done = helper("print(gp4u_job.wait_for('data/a'), gp4u_job.pending())", **environment)
    assert done.stdout == f"{folder}/data/a []\n", done.stderr
