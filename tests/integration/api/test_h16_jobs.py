"""A renter's jobs against apis that are killed at random: what was answered is there, and nothing is there twice."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import psycopg
import pytest
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


@pytest.mark.parametrize("apis", [1, 3])
async def test_h16_jobs_sent_to_apis_that_are_killed_at_random_are_made_once_each(
    settings: Settings, tmp_path: Path, apis: int
) -> None:
    """Every client repeats a job with its key until it is answered, over all kills: with one api by the one that is started
    after it, with three by any of those that are left.

    Some hang up early: a kill rarely falls between a commit and its answer, so that an answer is lost here often.
    """
    rng = random.Random(16)
    ports = [free_port() for _ in range(apis)]
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
                        base_url=f"http://127.0.0.1:{rng.choice(ports)}",
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

    async def until_some_more_are_answered() -> None:
        goal = len(answered) + rng.randint(3, 12)
        while len(answered) < goal:
            for client in clients:
                assert not client.done() or client.exception() is None
            await asyncio.sleep(0.01)

    async with AsyncExitStack() as stack:
        started = await asyncio.gather(
            *(
                stack.enter_async_context(api(settings, port, tmp_path / f"api-{number}.log"))
                for number, port in enumerate(ports)
            )
        )
        for number in range(KILLS):
            await until_some_more_are_answered()
            victim = started[number % apis]
            victim.kill()
            await asyncio.to_thread(victim.wait)
            if apis == 1:
                again = api(settings, ports[0], tmp_path / "api-0.log")
                started = [await stack.enter_async_context(again)]
        await asyncio.gather(*clients)
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
