"""`gp4u up` as a whole, and its refusals."""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from gp4u_server.supervisor.folder import DataFolder

from tests.integration.house.conftest import Stack, eventually, gone

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


def test_h16_nothing_outlives_the_supervisor_and_nothing_is_broken_after_kill_9(stack: Stack) -> None:
    started = stack.up("--demo")
    assert started.returncode == 0, started.stderr
    assert json.loads(started.stdout)["address"] == stack.url
    shown = json.loads(stack.command("status", "--json").stdout)
    assert {process["name"] for process in shown["processes"]} == {
        "postgres", "valkey", "api", "gateway", "controller", "caddy", "fleet", "worker", "beat",
    }  # fmt: skip
    assert all(process["state"] == "running" for process in shown["processes"])

    second = stack.up("--demo")
    assert second.returncode == 5
    assert "already running" in second.stderr
    assert "gp4u down" in second.stderr

    signed_in = stack.command("login", "--email", "renter@gp4u.demo", "--password", "demo-gp4u")
    assert signed_in.returncode == 0, signed_in.stderr
    job = stack.command("run", "--json", "--detach", "--name", "long", "--", "sleep 600")
    assert job.returncode == 0, job.stderr
    eventually(lambda: _job(stack)["state"] == "running", "the job runs")
    before = stack.processes()
    assert any("sleep 600" in " ".join(process.cmdline()) for process in before if process.is_running())

    os.kill(stack.status()["pid"], 9)
    again = stack.up("--demo")  # at once: it must wait for what is still going down
    assert again.returncode == 0, again.stderr
    eventually(lambda: gone(before), "everything ended with its supervisor, the job too")
    eventually(lambda: _job(stack)["state"] == "running", "the job runs again", timeout_s=60)
    assert stack.command("admin", "ledger", "verify").returncode == 0

    before = stack.processes()
    stopped = stack.command("down")
    assert stopped.returncode == 0, stopped.stderr
    eventually(lambda: gone(before), "everything ended")
    assert stack.command("status").returncode == 7
    assert stack.command("down").returncode == 0


def _job(stack: Stack) -> dict[str, str]:
    document: dict[str, str] = json.loads(stack.command("show", "long", "--json").stdout)
    return document.get("job", document)  # type: ignore[return-value]


def test_what_dies_is_started_again_and_an_api_restart_is_not_seen(stack: Stack) -> None:
    started = stack.up()
    assert started.returncode == 0, started.stderr
    failures: list[str] = []
    finished = threading.Event()

    def visit() -> None:
        while not finished.is_set():
            try:
                with urllib.request.urlopen(f"{stack.url}/health", timeout=60) as response:
                    assert response.status == 200
            except (OSError, AssertionError) as error:
                failures.append(str(error))

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        _kill_and_wait(stack, "api")
    finally:
        finished.set()
        visitor.join()
    assert not failures
    for name in ("postgres", "valkey", "gateway", "controller", "caddy", "worker"):
        _kill_and_wait(stack, name)
    eventually(lambda: _answers(f"{stack.url}/readiness"), "the marketplace works again")


def _kill_and_wait(stack: Stack, name: str) -> None:
    before = stack.part(name)
    os.kill(before["pid"], 9)
    eventually(
        lambda: (
            stack.part(name)["state"] == "running" and stack.part(name)["pid"] not in (None, before["pid"])
        ),
        f"{name} is back",
    )
    assert stack.part(name)["restarts"] == 1


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_a_taken_port_is_named(stack: Stack) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", stack.port))
        other.listen()
        refused = stack.up()
    assert refused.returncode == 5
    assert f"Port {stack.port}" in refused.stderr
    assert f"--port {stack.port + 1}" in refused.stderr
    assert stack.command("status").returncode == 7


def test_a_start_can_be_stopped_before_everything_runs(stack: Stack) -> None:
    with ThreadPoolExecutor() as beside:
        starting = beside.submit(stack.up)
        eventually(DataFolder(stack.data).is_locked, "somebody holds the folder")
        # At once, perhaps before the first status was written: whom to stop stands in the lock itself.
        assert stack.command("down", "--json").returncode == 0
        stopped = starting.result()
    assert stopped.returncode == 130, stopped.stderr
    assert "stopped before everything ran" in stopped.stderr
    assert stack.command("status").returncode == 7


def test_a_foreign_folder_is_not_touched(stack: Stack) -> None:
    stack.data.mkdir()
    (stack.data / "thesis.tex").write_text("irreplaceable")
    refused = stack.up()
    assert refused.returncode == 1
    assert "not a data folder" in refused.stderr
    assert [entry.name for entry in stack.data.iterdir()] == ["thesis.tex"]


def test_demo_accounts_never_meet_a_public_address(stack: Stack) -> None:
    refused = stack.up("--demo", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "password everybody knows" in refused.stderr
    (stack.data / "gp4u.json").write_text('{"format": 1, "made_by": "0.1.0", "demo": true}')
    refused = stack.up("--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "holds demo accounts" in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root may mount a small disk")
def test_h28_a_full_disk_is_noticed_before_the_start(stack: Stack) -> None:
    stack.data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", str(stack.data)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
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
    assert stack.command("down").returncode == 0


def test_an_external_server_that_does_not_answer_is_named(stack: Stack) -> None:
    refused = stack.up(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert refused.returncode == 1
    assert "DATABASE_URL is set" in refused.stderr
