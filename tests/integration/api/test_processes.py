"""Real processes: the API killed in the middle of its work, and a worker with poison among its tasks."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import httpx2
import psycopg
import redis
from celery import Celery
from gp4u_server.accounts.service import Accounts
from gp4u_server.bootstrap import build
from gp4u_server.settings import Settings

from tests.integration.api.conftest import PASSWORD, bearer

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "GP4U_SECRETS_DIR": str(settings.secrets_dir),
        "GP4U_OBJECT_STORE_DIR": str(settings.object_store_dir),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


@contextmanager
def process(*arguments: str, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process group of its own, gone at the end whatever happens."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


async def until(true: Callable[[], object], what: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen:\n{log.read_text()[-4000:]}"
        await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with suppress(OSError, httpx2.HTTPError):
        return httpx2.get(f"http://127.0.0.1:{port}/readiness", timeout=2).status_code == 200
    return False


@asynccontextmanager
async def api(settings: Settings, port: int, log: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    with process("gp4u_server.api", "--port", str(port), env=environment(settings), log=log) as started:
        await until(lambda: answers(port), "readiness", log)
        yield started


async def test_h16_what_was_acknowledged_survives_a_killed_api(settings: Settings, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "api.log"
    platform = build(settings)
    token = (
        await platform.get(Accounts).register(
            email="ada@example.com", password=PASSWORD, name="", roles={"renter"}, kind="program"
        )
    ).access_token
    await platform.close()
    acknowledged: set[str] = set()
    revoked: set[str] = set()

    async def make_and_revoke_keys(client: httpx2.AsyncClient) -> None:
        while True:
            made = await client.post("/api/v1/api-keys", json={"name": "x"})
            if made.status_code == 201:
                acknowledged.add(made.json()["id"])
                if (await client.delete(f"/api/v1/api-keys/{made.json()['id']}")).status_code == 204:
                    revoked.add(made.json()["id"])

    for _ in range(3):
        before = len(revoked)
        async with api(settings, port, log) as started:
            base = f"http://127.0.0.1:{port}"
            async with httpx2.AsyncClient(base_url=base, headers=bearer(token), timeout=10) as client:
                workers = [asyncio.create_task(make_and_revoke_keys(client)) for _ in range(8)]
                await until(lambda done=before: len(revoked) >= done + 20, "progress", log)
                started.kill()
                ended = await asyncio.gather(*workers, return_exceptions=True)
                assert all(isinstance(error, httpx2.HTTPError) for error in ended)
    with psycopg.connect(settings.database_url) as connection:
        rows = connection.execute("SELECT id, revoked_at IS NOT NULL FROM api_keys").fetchall()
    assert acknowledged <= {key_id for key_id, _ in rows}
    assert revoked <= {key_id for key_id, is_revoked in rows if is_revoked}
    # A killed API may have saved what it could not acknowledge any more: at most one row a worker and kill.
    assert len(rows) - len(acknowledged) <= 3 * 8


async def test_the_api_ends_cleanly_on_sigterm_and_can_listen_on_a_socket(
    settings: Settings, tmp_path: Path
) -> None:
    socket_path, log = tmp_path / "api.sock", tmp_path / "api.log"
    with process("gp4u_server.api", "--uds", str(socket_path), env=environment(settings), log=log) as started:
        await until(socket_path.exists, "the socket", log)
        transport = httpx2.AsyncHTTPTransport(uds=str(socket_path))
        async with httpx2.AsyncClient(transport=transport, base_url="http://gp4u") as client:
            assert (await client.get("/readiness")).status_code == 200
            assert (await client.get("/api/v1/platform")).json()["name"] == "GP4U"
        started.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(started.wait, 30) in (0, -signal.SIGTERM)
    assert "Traceback" not in log.read_text()
    assert '"route": "/api/v1/platform"' in log.read_text()


async def test_h27_poison_tasks_do_not_stop_the_others(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    env = environment(settings) | {"GP4U_TEST_DONE": str(tmp_path / "done")}
    (tmp_path / "done").mkdir()
    arguments = ("celery", "--app", "tests.integration.api.poison_app:app", "worker", "--concurrency=2")
    sender = Celery(broker=settings.redis_url)
    sender.conf.update(
        task_default_queue="gp4u", broker_transport_options={"global_keyprefix": "gp4u:celery:"}
    )
    with process(*arguments, env=env, log=log), redis.Redis.from_url(settings.redis_url) as valkey:
        # One in a hundred raises, one in a hundred takes its process down.
        for number in range(300):
            task = {10: "raises", 60: "dies"}.get(number % 100, "works")
            sender.send_task(f"tests.integration.api.poison_app.{task}", (number,))
        await until(lambda: len(list((tmp_path / "done").iterdir())) == 294, "all good tasks", log)

        def buried() -> list[tuple[str, str]]:
            with psycopg.connect(settings.database_url) as connection:
                return connection.execute("SELECT task, reason FROM dead_tasks ORDER BY task").fetchall()

        await until(lambda: len(buried()) == 6, "the burial", log)
        await until(lambda: valkey.llen("gp4u:celery:gp4u") == 0, "an empty queue", log)
    reasons = [reason for _, reason in buried()]
    assert [task.rpartition(".")[2] for task, _ in buried()] == ["dies"] * 3 + ["raises"] * 3
    assert reasons[:3] == ["its process died 3 times"] * 3
    assert all(reason.startswith("ValueError: poison") for reason in reasons[3:])
