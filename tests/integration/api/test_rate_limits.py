"""Rate limits, with Valkey and without it."""

import asyncio

import httpx2
from gp4u_server.api.app import create_app
from gp4u_server.bootstrap import build
from gp4u_server.foundation.rate_limit import Limit, RateLimiter, client_address
from gp4u_server.settings import Settings
from starlette.requests import Request

from tests.integration.api.conftest import bearer, client_of, tokens_of

NOWHERE = "redis://127.0.0.1:1/0"
WRONG = {"email": "ada@example.com", "password": "wrong password"}
# A window so long that the clock does not end it in the middle of a test.
LONG = Limit("test", 5, window_s=10**9)


async def guess(client: httpx2.AsyncClient, times: int) -> list[int]:
    return [(await client.post("/api/v1/auth/token", json=WRONG)).status_code for _ in range(times)]


async def test_uses_at_once_are_counted_exactly_and_apart(valkey_url: str) -> None:
    one, other = [RateLimiter.on_valkey(valkey_url, patience_s=30) for _ in range(2)]
    standings = await asyncio.gather(*((one, other)[n % 2].hit(LONG, "ada") for n in range(20)))
    assert sum(standing.allowed for standing in standings) == 5
    assert {standing.remaining for standing in standings} == {4, 3, 2, 1, 0}
    assert (await one.hit(LONG, "eve")).allowed
    await one.forget(LONG, "ada")
    assert (await other.hit(LONG, "ada")).allowed
    await one.close()
    await other.close()


async def test_with_valkey_gone_each_process_counts_for_itself() -> None:
    limiter = RateLimiter.on_valkey(NOWHERE)
    standings = [await limiter.hit(LONG, "ada") for _ in range(7)]
    assert [standing.allowed for standing in standings] == [True] * 5 + [False] * 2
    await limiter.forget(LONG, "ada")
    assert (await limiter.hit(LONG, "ada")).allowed
    await limiter.close()


async def test_guessing_a_password_is_slowed_down_even_with_valkey_gone(settings: Settings) -> None:
    for url in (settings.redis_url, NOWHERE):
        changes = {"redis_url": url, "failed_sign_ins_per_minute": 3}
        platform = build(settings.model_copy(update=changes))
        async with client_of(platform) as client:
            # Two windows at most are touched, so of ten guesses at least four are refused.
            codes = await guess(client, 10)
            assert set(codes) == {401, 429}
            assert codes.count(429) >= 4
            refused = await client.post("/api/v1/auth/token", json=WRONG)
            if refused.status_code == 429:
                assert refused.json()["code"] == "too_many_requests"
                assert 0 < int(refused.headers["retry-after"]) <= 60
        await platform.close()


async def test_signing_in_clears_the_count_of_failures(settings: Settings) -> None:
    platform = build(settings.model_copy(update={"failed_sign_ins_per_minute": 3}))
    async with client_of(platform) as client:
        await tokens_of(client, "ada@example.com")
        good = WRONG | {"password": "correct horse battery"}
        for _ in range(4):
            assert 429 not in await guess(client, 2)
            assert (await client.post("/api/v1/auth/token", json=good)).status_code == 200
    await platform.close()


async def test_every_answer_says_where_the_caller_stands(settings: Settings) -> None:
    platform = build(settings.model_copy(update={"requests_per_minute": 50}))
    async with client_of(platform) as client:
        ada = await tokens_of(client, "ada@example.com")
        eve = await tokens_of(client, "eve@example.com")
        anonymous = await client.get("/api/v1/platform")
        answers = [
            await client.get("/api/v1/platform", headers=bearer(ada["access_token"])) for _ in range(120)
        ]
        first, refused = answers[0], next(answer for answer in answers if answer.status_code == 429)
        # One account's haste is nobody else's.
        assert (await client.get("/api/v1/platform", headers=bearer(eve["access_token"]))).status_code == 200
        guessed = await client.get("/api/v1/platform", headers=bearer("nonsense"))
    assert (first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]) == ("50", "49")
    assert 0 < int(first.headers["x-ratelimit-reset"]) <= 60
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.json()["code"] == "too_many_requests"
    # Credentials that are no good count against the address, unless a new minute has begun since.
    if int(guessed.headers["x-ratelimit-reset"]) <= int(anonymous.headers["x-ratelimit-reset"]):
        assert int(guessed.headers["x-ratelimit-remaining"]) < 49
    assert int(anonymous.headers["x-ratelimit-remaining"]) < 50
    await platform.close()


async def test_what_a_client_says_about_its_address_counts_only_through_our_proxy(settings: Settings) -> None:
    platform = build(
        settings.model_copy(update={"failed_sign_ins_per_minute": 1000, "sign_ins_per_minute": 3})
    )
    app = create_app(platform)
    async with client_of(platform, app=app) as client:
        codes = [
            (
                await client.post(
                    "/api/v1/auth/token", json=WRONG, headers={"X-Forwarded-For": f"10.0.0.{n}"}
                )
            ).status_code
            for n in range(10)
        ]
    assert 429 in codes
    await platform.close()


def test_an_ipv6_caller_is_its_network() -> None:
    def address(host: str) -> str:
        return client_address(Request({"type": "http", "client": (host, 1), "headers": []}))

    assert address("2001:db8:1:2:3:4:5:6") == address("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert address("2001:db8:1:3::1") != address("2001:db8:1:2::1")
    assert address("10.1.2.3") == "10.1.2.3"
