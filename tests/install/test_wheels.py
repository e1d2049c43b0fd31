"""What a platform host gets: the four built wheels in an empty environment, started in an empty folder."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from gp4u_server.embedded import postgres
from gp4u_server.embedded.program import free_port

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
PACKAGES = ("protocol", "client", "agent", "server")
SOMEBODY = pwd.getpwnam("daemon").pw_uid  # PostgreSQL wants a user that has a name

pytestmark = [pytest.mark.install, pytest.mark.timeout(600)]


def run(*command: str | Path, **options: object) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(  # type: ignore[call-overload]
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=300, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for package in PACKAGES:
        run(
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            folder,
            ROOT / "packages" / package,
        )
    return folder


def _python_for_everybody() -> str:
    """A Python that an ordinary user can run too, where there is one; as root ours may lie in root's own home."""
    candidates = [sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")]
    for candidate in candidates:
        if candidate is None:
            continue
        check = [candidate, "-c", "import sys, venv; sys.exit(sys.version_info < (3, 11))"]
        options: dict[str, object] = {"user": SOMEBODY, "group": SOMEBODY} if os.geteuid() == 0 else {}
        try:
            if subprocess.run(check, capture_output=True, check=False, cwd="/", **options).returncode == 0:  # type: ignore[call-overload]
                return candidate
        except OSError:
            continue
    return sys.executable


@pytest.fixture(scope="module")
def environment(wheels: Path) -> Iterator[Path]:
    """A virtual environment with the wheels and the locked versions of what they need; none of the working tree.

    Not below pytest's own folder, which no other user may enter.
    """
    folder = Path(tempfile.mkdtemp(prefix="gp4u-install-"))
    folder.chmod(0o755)
    requirements = folder / "requirements.txt"
    locked = run(UV, "export", "--frozen", "--no-dev", "--no-emit-workspace", "--quiet", cwd=ROOT)
    requirements.write_text(locked.stdout)
    run(UV, "venv", "--quiet", "--python", _python_for_everybody(), folder / "venv")
    python = folder / "venv" / "bin" / "python"
    install = [UV, "pip", "install", "--quiet", "--python", python]
    offline = subprocess.run(
        [str(word) for word in [*install, "--offline", "--requirement", requirements]],
        capture_output=True,
        check=False,
    )
    if offline.returncode != 0:
        run(*install, "--requirement", requirements)
    run(*install, "--no-deps", "--offline", *sorted(wheels.glob("*.whl")))
    yield folder / "venv"
    shutil.rmtree(folder, ignore_errors=True)


def _use(environment: Path, home: Path, **options: object) -> None:
    gp4u = environment / "bin" / "gp4u"
    port = free_port()
    options = {"cwd": home, "env": {"PATH": "/usr/bin:/bin", "HOME": str(home), "COLUMNS": "200"}, **options}
    shown = run(gp4u, "--help", **options)
    for command in ("run", "search", "agent", "up", "admin", "demo"):
        assert f"\n  {command} " in shown.stdout
    try:
        started = run(gp4u, "up", "--detach", "--json", "--port", str(port), **options)
        assert json.loads(started.stdout)["address"] == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as response:
            assert json.load(response)["status"] == "alive"
        status = json.loads(run(gp4u, "status", "--json", **options).stdout)
        if "user" in options:
            for process in status["processes"]:
                assert psutil.Process(process["pid"]).uids().real == options["user"]
        for process in status["processes"]:
            assert str(ROOT) not in " ".join(psutil.Process(process["pid"]).cmdline())
    finally:
        run(gp4u, "down", **options)
    assert (home / ".gp4u" / "gp4u.json").exists()


def test_the_wheels_start_a_marketplace_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    try:
        _use(environment, tmp_path)
    finally:
        postgres.delete(tmp_path / ".gp4u" / "postgres")


@pytest.mark.skipif(os.geteuid() != 0, reason="we are an ordinary user: the other test shows it")
def test_an_ordinary_user_needs_no_root(environment: Path) -> None:
    somebody = {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": []}
    try:
        subprocess.run([environment / "bin" / "python", "-c", ""], cwd="/", check=True, **somebody)  # type: ignore[call-overload]
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("every Python here lies in a folder that an ordinary user cannot enter")
    home = Path(tempfile.mkdtemp(prefix="gp4u-home-"))
    os.chown(home, SOMEBODY, SOMEBODY)
    try:
        _use(environment, home, **somebody)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_the_web_app_is_inside(wheels: Path) -> None:
    if not (ROOT / "packages" / "server" / "src" / "gp4u_server" / "web_dist" / "index.html").exists():
        pytest.skip("the web app is not built; run make web")
    listed = run(sys.executable, "-m", "zipfile", "--list", next(wheels.glob("gp4u_server-*.whl"))).stdout
    assert "gp4u_server/web_dist/index.html" in listed
    assert "gp4u_server/demo/digits/train.py" in listed
    assert "gp4u_server/demo/nodes/aurora-1.yaml" in listed


@pytest.fixture(scope="module")
def owners_environment(wheels: Path) -> Iterator[Path]:
    """What `pip install gp4u-agent` makes on an owner's machine: the agent and what it needs, nothing of the platform."""
    folder = Path(tempfile.mkdtemp(prefix="gp4u-install-agent-"))
    requirements = folder / "requirements.txt"
    exported = ("export", "--frozen", "--no-dev", "--no-emit-workspace", "--quiet", "--package", "gp4u-agent")
    requirements.write_text(run(UV, *exported, cwd=ROOT).stdout)
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    install = [UV, "pip", "install", "--quiet", "--python", folder / "venv" / "bin" / "python"]
    offline = subprocess.run(
        [str(word) for word in [*install, "--offline", "--requirement", requirements]],
        capture_output=True,
        check=False,
    )
    if offline.returncode != 0:
        run(*install, "--requirement", requirements)
    names = ("gp4u_protocol-", "gp4u-", "gp4u_agent-")
    run(*install, "--no-deps", "--offline", *(next(wheels.glob(f"{name}*.whl")) for name in names))
    yield folder / "venv"
    shutil.rmtree(folder, ignore_errors=True)


def test_an_owner_installs_the_agent_in_one_line(owners_environment: Path, tmp_path: Path) -> None:
    programs = owners_environment / "bin"
    options: dict[str, Any] = {
        "cwd": tmp_path,
        "env": {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        "text": True,
        "capture_output": True,
        "timeout": 120,
    }
    for program in (["gp4u", "agent"], ["gp4u-agent"]):
        call = [str(programs / program[0]), *program[1:]]
        facts = subprocess.run([*call, "facts", "--json"], check=True, **options)
        assert json.loads(facts.stdout)
        joined = subprocess.run([*call, "join", "http://127.0.0.1:9", "--token", "t"], check=False, **options)
        assert joined.returncode == 7, joined.stderr
        assert "cannot be reached" in joined.stderr
        started = subprocess.run([*call, "run"], check=False, **options)
        assert started.returncode == 4
        assert "agent join" in started.stderr
    assert not list(owners_environment.rglob("gp4u_server"))
