"""A renter's jobs against an API that is killed at random: what was answered is there, and nothing is there twice."""

import asyncio
import random
from pathlib import Path

import httpx2
import psycopg
from gp4u_server.accounts.service import Accounts
from gp4u_server.billing.top_ups import TopUpService
from gp4u_server.bootstrap import build
from gp4u_server.kit.db import Database
from gp4u_server.settings import Settings

from tests.checks.ledger import assert_ledger_balances
from tests.integration.api.conftest import PASSWORD, bearer
from tests.integration.api.test_processes import api, free_port
from tests.integration.market_world import World

CLIENTS, JOBS_EACH, KILLS = 8, 12, 2


async def test_h16_jobs_sent_to_an_api_that_is_killed_at_random_are_made_once_each(
    settings: Settings, tmp_path: Path
) -> None:
    """Every client repeats a job with its key until it is answered, over all kills.

    Some hang up early: a kill rarely falls between a commit and its answer, so that an answer is lost here often.
    """
    rng = random.Random(16)
    port, log = free_port(), tmp_path / "api.log"
    platform = build(settings)
    renter = await platform.get(Accounts).register(
        email="ada@example.com", password=PASSWORD, name="", roles={"renter"}, kind="program"
    )
    await platform.get(TopUpService).top_up(renter.user.id, 500_000_000, None)
    database = platform.get(Database)
    market = World(database)
    await market.offer(await market.person("Otto"), gpus=8)
    answered: dict[str, str] = {}  # key → id of the job that it was answered with
    lost_answers = 0

    async def one_client(number: int) -> None:
        nonlocal lost_answers
        for turn in range(JOBS_EACH):
            key = f"{number}-{turn}"
            while key not in answered:
                try:
                    async with httpx2.AsyncClient(
                        base_url=f"http://127.0.0.1:{port}",
                        headers=bearer(renter.access_token),
                        timeout=rng.choice([0.01, 0.03, 0.08, 20]),
                    ) as client:
                        made = await client.post(
                            "/api/v1/jobs",
                            json={"command": "true", "name": f"job-{key}"},
                            headers={"Idempotency-Key": key},
                        )
                except httpx2.HTTPError:
                    lost_answers += 1
                    await asyncio.sleep(0.05)
                    continue
                assert made.status_code == 201, made.text
                answered[key] = made.json()["id"]

    clients = [asyncio.create_task(one_client(number)) for number in range(CLIENTS)]
    for kill in range(KILLS + 1):
        async with api(settings, port, log) as started:
            if kill == KILLS:
                await asyncio.gather(*clients)
                break
            goal = len(answered) + rng.randint(3, 12)
            while len(answered) < goal:
                for client in clients:
                    assert not client.done() or client.exception() is None
                await asyncio.sleep(0.01)
            started.kill()
            await asyncio.to_thread(started.wait)
    with psycopg.connect(settings.database_url) as connection:
        rows = connection.execute("SELECT id, name, state FROM jobs").fetchall()
        bookings = connection.execute("SELECT count(*), count(DISTINCT job_id) FROM bookings").fetchone()
    assert lost_answers > 5, "hardly an answer was lost; the test proved nothing"
    assert {(job_id, name) for job_id, name, _ in rows} == {
        (job_id, f"job-{key}") for key, job_id in answered.items()
    }
    assert len(rows) == CLIENTS * JOBS_EACH
    assert bookings == (8, 8)
    await assert_ledger_balances(database)
    await platform.close()
