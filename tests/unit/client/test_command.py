"""The command: help, suggestions, exit codes, no prompt without a terminal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1:8000", "Did you mean http://127.0.0.1:8000?"),
        ("market.example", "Did you mean http://market.example?"),
        ("ftp://x", "is not the address of a marketplace"),
        ("http://", "is not the address of a marketplace"),
        ("http://[::1", "is not the address of a marketplace"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_sent(url: str, said: str) -> None:
    done = gp4u("whoami", GP4U_URL=url)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_a_key_that_cannot_be_sent_is_a_refusal_and_no_crash() -> None:
    done = gp4u("whoami", GP4U_URL="http://127.0.0.1:9", GP4U_API_KEY="gp4u_clé")
    assert done.returncode == 3
    assert "characters in it that no key has" in done.stderr


def test_without_arguments_the_help_goes_where_it_can_be_paged() -> None:
    done = gp4u()
    assert (done.returncode, done.stderr) == (0, "")
    assert "Commands:" in done.stdout
    group = gp4u("offers")
    assert (group.returncode, group.stderr) == (2, "")
    assert "withdraw" in group.stdout


def test_words_of_other_tools_are_understood() -> None:
    assert "Did you mean `ps`?" in gp4u("list").stderr
    assert "Did you mean `login`?" in gp4u("signin").stderr


def test_output_that_cannot_be_written_is_said_in_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no full device")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [GP4U, "run", "--dry-run", "--", "true"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")


def test_a_reader_that_leaves_early_is_no_failure() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [GP4U, "run", "--dry-run", "--", "true"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion_script(shell: str) -> None:
    done = gp4u("completion", shell)
    assert done.returncode == 0
    assert f"_GP4U_COMPLETE={shell}_complete" in done.stdout


def test_completion_names_commands_without_importing_them() -> None:
    code = (
        "import sys, os; sys.argv=['gp4u']\n"
        "os.environ.update(_GP4U_COMPLETE='bash_complete', COMP_WORDS='gp4u ', COMP_CWORD='1')\n"
        "from gp4u.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'httpx2','rich','pydantic','psycopg'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "plain,search\n" in done.stdout
    assert "plain,up\n" in done.stdout
    assert "HEAVY []" in done.stdout


def test_completion_goes_on_inside_a_group() -> None:
    done = gp4u(_GP4U_COMPLETE="bash_complete", COMP_WORDS="gp4u nodes en", COMP_CWORD="2")
    assert done.stdout == "plain,enrol\n"


def test_what_newcomers_type_first_is_answered(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)")
    (tmp_path / "job.yaml").write_text("command: x")
    file = gp4u("run", "train.py", cwd=tmp_path)
    assert file.returncode == 2
    assert "gp4u run --files . -- python train.py" in file.stderr
    late = gp4u("run", "job.yaml", "--gpus", "2", cwd=tmp_path)
    assert late.returncode == 2
    assert "gp4u run --gpus 2 job.yaml" in late.stderr
    mistyped = gp4u("run", "jop.yaml", cwd=tmp_path)
    assert mistyped.returncode == 2
    assert "There is no job file jop.yaml. Did you mean `job.yaml`?" in mistyped.stderr
    unsent = gp4u("run", "--dry-run", "--", "python", "train.py", cwd=tmp_path)
    assert unsent.returncode == 0
    assert "train.py is not sent" in unsent.stderr
    sent = gp4u("run", "--dry-run", "--files", ".", "--", "python", "train.py", cwd=tmp_path)
    assert (sent.returncode, sent.stderr) == (0, "")


def test_options_that_cannot_be_a_job_are_named_as_in_a_job_file() -> None:
    done = gp4u("run", "--dry-run", "--name", "B D", "--vram", "99999", "--", "ls")
    assert done.returncode == 2
    assert "name: must be 1 to 63" in done.stderr
    assert "resources.vram_gb: should be less than" in done.stderr
    assert "pydantic" not in done.stderr


def test_hours_that_are_no_number_are_refused() -> None:
    done = gp4u("offers", "new", "node", "--price", "1", "--min-hours", "nan")
    assert done.returncode == 2
    assert "--min-hours" in done.stderr


def test_signing_out_works_without_a_network(tmp_path: Path) -> None:
    config = tmp_path / "credentials.json"
    config.write_text('{"url": "http://127.0.0.1:9", "access_token": "a", "refresh_token": "r"}')
    done = gp4u("logout", GP4U_CONFIG=str(config))
    assert done.returncode == 0, done.stderr
    assert "Signed out." in done.stdout
    assert "was not told" in done.stderr
    assert not config.exists()


def test_a_folder_that_takes_no_credentials_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = gp4u("logout", GP4U_CONFIG=str(tmp_path / "file" / "credentials.json"))
    assert done.returncode == 1
    assert "file/credentials.json" in done.stderr
    assert "Traceback" not in done.stderr
