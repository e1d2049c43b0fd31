"""The command: help, suggestions, exit codes, no prompt without a terminal."""

import json
import os
import subprocess
import sys
from pathlib import Path

GP4U = str(Path(sys.executable).with_name("gp4u"))


def gp4u(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GP4U, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, "GP4U_CONFIG": "/nonexistent/none.json", **environment},
        check=False,
    )


def test_help_lists_every_command_without_importing_the_heavy_ones() -> None:
    code = (
        "import sys; sys.argv=['gp4u','--help']\n"
        "from gp4u.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'httpx2','rich','pydantic','fastapi','sqlalchemy','yaml','blake3'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "HEAVY []" in done.stdout
    for command in ("login", "search", "run", "ps", "logs", "stop", "why", "wallet", "nodes", "up", "agent"):
        assert f"  {command} " in done.stdout
    assert done.stderr == ""


def test_a_mistyped_command_gets_a_suggestion() -> None:
    done = gp4u("serach")
    assert done.returncode == 2
    assert "Did you mean `search`?" in done.stderr


def test_an_unreachable_server_is_said_with_what_to_do() -> None:
    done = gp4u("search", GP4U_URL="http://127.0.0.1:9")
    assert done.returncode == 7
    assert "cannot be reached" in done.stderr
    assert "gp4u up" in done.stderr


def test_no_prompt_without_a_terminal() -> None:
    assert gp4u("login").returncode == 2
    done = gp4u("login", "--email", "a@b.co")
    assert done.returncode == 2
    assert "--password-stdin" in done.stderr


def test_a_bad_job_file_lists_its_mistakes_and_exits_2(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("comand: x\nbudget: {total: 0}\n")
    done = gp4u("run", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean `command`?" in done.stderr
    assert "budget.total" in done.stderr


def test_a_dry_run_prints_what_would_be_sent(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("command: python t.py\nfiles: .\nresources: {vram_gb: 24}\n")
    done = gp4u("run", "--dry-run", "--gpus", "2", "--max-per-hour", "0.80", "job.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sent = json.loads(done.stdout)
    assert sent["spec"]["resources"]["gpus"] == 2
    assert sent["spec"]["resources"]["vram_gb_min"] == 24
    assert sent["spec"]["budget"]["per_hour_micros_max"] == 800_000
    assert sent["files"] == 1


def test_no_color_is_honoured(tmp_path: Path) -> None:
    done = gp4u("search", GP4U_URL="http://127.0.0.1:9", NO_COLOR="1", FORCE_COLOR="1")
    assert "\x1b[3" not in done.stderr
