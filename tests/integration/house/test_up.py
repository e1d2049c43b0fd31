"""`gp4u up` and what can go wrong with it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.integration.house.conftest import Stack, eventually, kill

pytestmark = pytest.mark.stack


def _gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def _database_url(stack: Stack) -> str:
    password = (stack.data / "secrets" / "postgres.password").read_text()
    command = psutil.Process(stack.part("postgres")["pid"]).cmdline()
    port = next(word for word in command if word.startswith("port=")).removeprefix("port=")
    return f"postgresql://gp4u:{password}@127.0.0.1:{port}/gp4u"


def test_up_status_down_and_a_second_start_keeps_the_data(stack: Stack) -> None:
    started = stack.up()
    assert started.returncode == 0, started.stderr
    summary = json.loads(started.stdout)
    assert summary["address"] == f"http://127.0.0.1:{stack.port}"
    status = stack.status()
    assert status["running"]
    assert {"postgres", "valkey"} <= {part["name"] for part in status["processes"]}
    assert all(part["state"] == "running" for part in status["processes"])
    processes = stack.processes()
    with psycopg.connect(_database_url(stack), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")

    assert stack.command("down").returncode == 0
    eventually(lambda: _gone(processes), "everything has ended")
    assert stack.command("status").returncode == 7

    assert stack.up().returncode == 0
    with psycopg.connect(_database_url(stack)) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (42,)


def test_h16_kill_9_of_the_supervisor_leaves_nothing_running_and_nothing_broken(stack: Stack) -> None:
    assert stack.up().returncode == 0
    processes = stack.processes()
    assert len(processes) > 2
    with psycopg.connect(_database_url(stack), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    kill(stack.status()["pid"])
    eventually(lambda: _gone(processes), "everything ends with its supervisor")

    started = stack.up()
    assert started.returncode == 0, started.stderr
    with psycopg.connect(_database_url(stack)) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (42,)


def test_a_start_right_after_kill_9_waits_for_the_old_database(stack: Stack) -> None:
    assert stack.up().returncode == 0
    kill(stack.status()["pid"])
    started = stack.up()
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_part_that_dies_is_started_again(stack: Stack, name: str) -> None:
    assert stack.up().returncode == 0
    before = stack.part(name)
    kill(before["pid"])
    eventually(
        lambda: (
            stack.part(name)["state"] == "running" and stack.part(name)["pid"] not in (None, before["pid"])
        ),
        f"{name} is back",
    )
    assert stack.part(name)["restarts"] == 1
    if name == "postgres":
        with psycopg.connect(_database_url(stack)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_second_up_on_the_same_folder_is_refused(stack: Stack) -> None:
    assert stack.up().returncode == 0
    second = stack.up()
    assert second.returncode == 5
    assert "already running" in second.stderr
    assert "gp4u down" in second.stderr
    assert stack.status()["ready"]


def test_a_taken_port_is_named(stack: Stack) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", stack.port))
        other.listen()
        refused = stack.up()
    assert refused.returncode == 5
    assert f"Port {stack.port}" in refused.stderr
    assert f"--port {stack.port + 1}" in refused.stderr
    assert stack.command("status").returncode == 7


def test_a_foreign_folder_is_not_touched(stack: Stack) -> None:
    stack.data.mkdir()
    (stack.data / "thesis.tex").write_text("irreplaceable")
    refused = stack.up()
    assert refused.returncode == 1
    assert "not a data folder" in refused.stderr
    assert [entry.name for entry in stack.data.iterdir()] == ["thesis.tex"]


def _damage_marker(data: Path, cluster: Path) -> None:
    (data / "gp4u.json").write_text("{")


def _newer_format(data: Path, cluster: Path) -> None:
    (data / "gp4u.json").write_text('{"format": 99, "made_by": "9.0"}')


def _truncate_master_key(data: Path, cluster: Path) -> None:
    (data / "secrets" / "master.key").write_bytes(b"short")


def _lose_control_file(data: Path, cluster: Path) -> None:
    (cluster / "global" / "pg_control").unlink()


def _lose_cluster(data: Path, cluster: Path) -> None:
    shutil.rmtree(cluster / "base")


def _other_version(data: Path, cluster: Path) -> None:
    (cluster / "PG_VERSION").write_text("17\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damage_marker, "is damaged"),
        (_newer_format, "has format 99, made by GP4U 9.0"),
        (_truncate_master_key, "must hold 32 bytes"),
        (_lose_control_file, "pg_control"),
        (_lose_cluster, "FATAL"),
        (_other_version, "was made by PostgreSQL 17"),
    ],
)
def test_a_damaged_folder_is_refused_with_advice(stack: Stack, damage, message) -> None:  # type: ignore[no-untyped-def]
    assert stack.up().returncode == 0
    cluster = Path(psutil.Process(stack.part("postgres")["pid"]).cwd())
    assert stack.command("down").returncode == 0
    damage(stack.data, cluster)
    refused = stack.up()
    assert refused.returncode == 1
    assert message in refused.stderr
    assert stack.command("status").returncode == 7


def test_demo_accounts_never_meet_a_public_address(stack: Stack) -> None:
    refused = stack.up("--demo", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "password everybody knows" in refused.stderr
    assert stack.up().returncode == 0
    assert stack.command("down").returncode == 0
    marker = stack.data / "gp4u.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "demo": True}))
    refused = stack.up("--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "holds demo accounts" in refused.stderr


def test_deleting_the_data_folder_is_a_reset(stack: Stack) -> None:
    assert stack.up().returncode == 0
    with psycopg.connect(_database_url(stack), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    assert stack.command("down").returncode == 0
    shutil.rmtree(stack.data)
    assert stack.up().returncode == 0
    with psycopg.connect(_database_url(stack)) as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)


def test_a_moved_data_folder_still_has_its_data(stack: Stack) -> None:
    assert stack.up().returncode == 0
    with psycopg.connect(_database_url(stack), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    assert stack.command("down").returncode == 0
    moved = stack.data.with_name("elsewhere")
    stack.data.rename(moved)
    stack.data = moved
    assert stack.up().returncode == 0
    with psycopg.connect(_database_url(stack)) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (42,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only as root is the cluster outside the data folder")
def test_a_copied_data_folder_does_not_share_the_database(stack: Stack, tmp_path: Path) -> None:
    assert stack.up().returncode == 0
    assert stack.command("down").returncode == 0
    shutil.copytree(stack.data, tmp_path / "copy")
    refused = stack.up("--data", str(tmp_path / "copy"))
    assert refused.returncode == 1
    assert "is a copy of" in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root may mount a small disk")
def test_h28_a_full_disk_is_noticed_before_the_start(stack: Stack) -> None:
    stack.data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(stack.data)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount here: {mounted.stderr!r}")
    try:
        refused = stack.up()
    finally:
        subprocess.run(["umount", "--lazy", str(stack.data)], check=True)
    assert refused.returncode == 1
    assert "MiB free" in refused.stderr


def test_external_servers_are_used_when_named(stack: Stack, empty_database_url: str, valkey_url: str) -> None:
    started = stack.up(DATABASE_URL=empty_database_url, REDIS_URL=valkey_url)
    assert started.returncode == 0, started.stderr
    assert not {"postgres", "valkey"} & {part["name"] for part in stack.status()["processes"]}
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_an_external_server_that_does_not_answer_is_named(stack: Stack) -> None:
    refused = stack.up(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert refused.returncode == 1
    assert "DATABASE_URL is set" in refused.stderr


@pytest.mark.skipif(
    os.geteuid() != 0, reason="this process is an ordinary user already: every other test shows it"
)
def test_an_ordinary_user_needs_no_root(tmp_path: Path) -> None:
    """As another user, with a Python that this user can reach."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if (
        python is None
        or subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info[:2] < (3, 11))"]).returncode
    ):
        pytest.skip("no system Python that an ordinary user could run")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 12345, 12345)
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    script = "import sys; from gp4u.cli import main; sys.argv[0] = 'gp4u'; main()"
    environment = {
        "PYTHONPATH": ":".join(path for path in sys.path if path),
        "HOME": str(home),
        "GP4U_DATA": str(home / "data"),
        "COLUMNS": "300",
        "PATH": "/usr/bin:/bin",
    }

    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [python, "-c", script, *arguments],
            cwd=home,
            env=environment,
            user=12345,
            group=12345,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    port = Stack(home, 0).port or _free()
    started = command("up", "--detach", "--json", "--port", str(port))
    assert started.returncode == 0, started.stderr
    try:
        status = json.loads(command("status", "--json").stdout)
        for part in status["processes"]:
            assert psutil.Process(part["pid"]).uids().real == 12345
    finally:
        assert command("down").returncode == 0


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
