"""Money over HTTP: top-ups, bookings and jobs, each sent many times with one key, with other bodies, by others."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from gp4u_server.billing.errors import PaymentUnavailable
from gp4u_server.billing.statements import Statements
from gp4u_server.billing.top_ups import TopUpService
from gp4u_server.billing.types import PaymentIntent, PaymentOutcome
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.clock import ManualClock
from gp4u_server.kit.db import Database
from gp4u_server.ledger.service import LedgerService
from sqlalchemy import text

from tests.integration.api.conftest import bearer, tokens_of
from tests.integration.market_world import World

API = "/api/v1"
JOB = {"command": "true", "resources": {"gpus": 1}}


async def signed_in(client: httpx2.AsyncClient, name: str, *roles: str) -> dict[str, str]:
    return bearer((await tokens_of(client, f"{name}@example.com", *roles))["access_token"])


async def funded(client: httpx2.AsyncClient, name: str = "rhea", micros: int = 50_000_000) -> dict[str, str]:
    headers = await signed_in(client, name)
    answer = await client.post(f"{API}/wallet/top-ups", json={"amount_micros": micros}, headers=headers)
    assert answer.status_code == 201, answer.text
    return headers


async def count(platform: Platform, table: str) -> int:
    async with platform.get(Database).transaction() as session:
        return int((await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def test_a_top_up_is_in_the_wallet_and_in_its_entries(client: httpx2.AsyncClient) -> None:
    headers = await funded(client)
    wallet = (await client.get(f"{API}/wallet", headers=headers)).json()
    assert wallet == {
        "currency": "USD",
        "available_micros": 50_000_000,
        "held_micros": 0,
        "spent_30d_micros": 0,
    }
    for number in range(3):
        body = {"amount_micros": 1_000_000 + number}
        await client.post(f"{API}/wallet/top-ups", json=body, headers=headers)
    page = (await client.get(f"{API}/wallet/entries?limit=2", headers=headers)).json()
    rest = (
        await client.get(f"{API}/wallet/entries?limit=2&cursor={page['next_cursor']}", headers=headers)
    ).json()
    amounts = [entry["amount_micros"] for entry in page["items"] + rest["items"]]
    assert amounts == [1_000_002, 1_000_001, 1_000_000, 50_000_000]
    assert {entry["kind"] for entry in page["items"]} == {"top_up"}
    assert rest["next_cursor"] is None


async def test_absurd_amounts_are_refused(client: httpx2.AsyncClient) -> None:
    headers = await signed_in(client, "rhea")
    for amount in [0, -5_000_000, 999_999, 10_000_000_001, 1.5, "5000000.5", None, True]:
        body = {"amount_micros": amount}
        answer = await client.post(f"{API}/wallet/top-ups", json=body, headers=headers)
        assert answer.status_code == 422, amount


async def test_a_declined_payment_moves_nothing_and_says_so_again(client: httpx2.AsyncClient) -> None:
    headers = await signed_in(client, "rhea") | {"Idempotency-Key": "k"}
    for _ in range(2):
        answer = await client.post(
            f"{API}/wallet/top-ups", json={"amount_micros": 5_000_402}, headers=headers
        )
        assert (answer.status_code, answer.json()["code"]) == (402, "payment_declined")
    wallet = (await client.get(f"{API}/wallet", headers=headers)).json()
    assert wallet["available_micros"] == 0


ROUTES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("/wallet/top-ups", {"amount_micros": 7_000_000}, {"amount_micros": 8_000_000}, "top_ups"),
    ("/jobs", JOB, {**JOB, "command": "false"}, "jobs"),
    ("/bookings", {"job": JOB}, {"job": {**JOB, "command": "false"}}, "bookings"),
]


@pytest.mark.parametrize(("route", "body", "other", "table"), ROUTES, ids=[route[0] for route in ROUTES])
async def test_h22_idempotency_misuse(
    client: httpx2.AsyncClient,
    platform: Platform,
    route: str,
    body: dict[str, Any],
    other: dict[str, Any],
    table: str,
) -> None:
    world = World(platform.get(Database))
    owner = await world.person("Otto")
    offer = await world.offer(owner, gpus=8)
    if route == "/bookings":
        body, other = {**body, "offer_id": offer.id}, {**other, "offer_id": offer.id}
    headers, stranger = await funded(client), await funded(client, "sten")
    before = await count(platform, table)
    key = {"Idempotency-Key": "one key"}

    answers = await asyncio.gather(
        *(client.post(API + route, json=body, headers=headers | key) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({json.dumps(answer.json(), sort_keys=True) for answer in answers}) == 1
    assert await count(platform, table) == before + 1

    changed = await client.post(API + route, json=other, headers=headers | key)
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")

    theirs = await client.post(API + route, json=body, headers=stranger | key)
    assert theirs.status_code == 201
    assert await count(platform, table) == before + 2

    again = await client.post(API + route, json=body, headers=headers)
    assert again.status_code == 201
    assert await count(platform, table) == before + 3


async def test_booking_over_http(client: httpx2.AsyncClient, platform: Platform) -> None:
    world = World(platform.get(Database))
    owner = await world.person("Otto")
    offer = await world.offer(owner, price=500_000)
    poor, rich, stranger = (
        await signed_in(client, "poor"),
        await funded(client, "rich"),
        await signed_in(client, "other"),
    )
    body = {"offer_id": offer.id, "job": JOB}
    refused = await client.post(f"{API}/bookings", json=body, headers=poor)
    assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_funds")
    assert refused.json()["missing_micros"] > 0
    made = await client.post(f"{API}/bookings", json=body, headers=rich)
    assert made.status_code == 201, made.text
    booking = made.json()
    assert (booking["state"], booking["gpu_model"]) == ("held", "RTX_4090")
    taken = await client.post(f"{API}/bookings", json=body, headers=rich)
    assert (taken.status_code, taken.json()["code"]) == (409, "offer_taken")
    listed = (await client.get(f"{API}/bookings", headers=rich)).json()
    assert [item["id"] for item in listed["items"]] == [booking["id"]]
    for path in (f"/bookings/{booking['id']}", f"/bookings/{booking['id']}/receipt"):
        assert (await client.get(API + path, headers=rich)).status_code == 200
        hidden = await client.get(API + path, headers=stranger)
        assert (hidden.status_code, hidden.json()["code"]) == (404, "booking_not_found")
    missing = {"offer_id": "off_none", "job": JOB}
    assert (await client.post(f"{API}/bookings", json=missing, headers=rich)).status_code == 404
    earnings = (await client.get(f"{API}/earnings", headers=rich)).json()
    assert (earnings["earned_total_micros"], earnings["owner_share_percent"]) == (0, 80)
    wallet = (await client.get(f"{API}/wallet", headers=rich)).json()
    assert wallet["held_micros"] == booking["held_micros"] == 50_000_000 - wallet["available_micros"] > 0


async def test_bookings_of_one_job_and_in_one_state(client: httpx2.AsyncClient, platform: Platform) -> None:
    world = World(platform.get(Database))
    owner = await world.person("Otto")
    for _ in range(3):
        await world.offer(owner)
    rich, stranger = await funded(client, "rich"), await funded(client, "other")
    jobs = [(await client.post(f"{API}/jobs", json=JOB, headers=rich)).json()["id"] for _ in range(3)]
    await client.post(f"{API}/jobs/{jobs[0]}/stop", headers=rich)

    async def found(query: str, headers: dict[str, str] = rich) -> list[str]:
        answer = await client.get(f"{API}/bookings?{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        return [item["job_id"] for item in answer.json()["items"]]

    assert await found("") == jobs[::-1]
    assert await found(f"job_id={jobs[1]}") == [jobs[1]]
    assert await found("state=ended") == [jobs[0]]
    assert await found("state=held") == [jobs[2], jobs[1]]
    assert await found("state=held&state=ended") == jobs[::-1]
    assert await found(f"job_id={jobs[0]}&state=held") == []
    assert await found(f"job_id={jobs[1]}", stranger) == []  # as for a job that there is not
    page = (await client.get(f"{API}/bookings?state=held&limit=1", headers=rich)).json()
    rest = (
        await client.get(f"{API}/bookings?state=held&limit=1&cursor={page['next_cursor']}", headers=rich)
    ).json()
    assert [item["job_id"] for item in page["items"] + rest["items"]] == [jobs[2], jobs[1]]
    assert rest["next_cursor"] is None
    assert (await client.get(f"{API}/bookings?state=lost", headers=rich)).status_code == 422


async def test_a_price_that_rose_is_not_booked_unseen(client: httpx2.AsyncClient, platform: Platform) -> None:
    """The renter was shown a price; the owner raised it before the click arrived."""
    world = World(platform.get(Database))
    owner = await world.person("Otto")
    offer = await world.offer(owner, price=500_000, gpus=4)
    rich = await funded(client, "rich")
    body = {
        "offer_id": offer.id,
        "job": {**JOB, "resources": {"gpus": 2}},
        "rate_per_hour_micros_max": 1_000_000,
    }
    made = await client.post(f"{API}/bookings", json=body, headers=rich)
    assert made.status_code == 201, made.text
    async with world.database.transaction() as session:
        await world.market.change_offer(
            session, owner_id=owner, offer_id=offer.id, terms={"price_per_gpu_hour_micros": 500_001}
        )
    before = (await client.get(f"{API}/wallet", headers=rich)).json()
    refused = await client.post(f"{API}/bookings", json=body, headers=rich)
    assert (refused.status_code, refused.json()["code"]) == (409, "offer_taken")
    assert refused.json()["rate_per_hour_micros"] == 1_000_002
    assert (await client.get(f"{API}/wallet", headers=rich)).json() == before
    assert len((await client.get(f"{API}/jobs", headers=rich)).json()["items"]) == 1
    kept = (await client.get(f"{API}/bookings/{made.json()['id']}", headers=rich)).json()
    assert kept["rate_per_hour_micros"] == 1_000_000  # a booking keeps its rate
    for absurd in (0, -1, 10**16, 0.5):
        answer = await client.post(
            f"{API}/bookings", json={**body, "rate_per_hour_micros_max": absurd}, headers=rich
        )
        assert answer.status_code == 422


async def test_nobody_reads_money_without_signing_in(client: httpx2.AsyncClient) -> None:
    for path in ("/wallet", "/wallet/entries", "/bookings", "/bookings/bkg_1/receipt", "/earnings"):
        assert (await client.get(API + path)).status_code == 401
    for path in ("/wallet/top-ups", "/bookings", "/jobs"):
        assert (await client.post(API + path, json={})).status_code == 401


class Unsteady:
    """A provider whose answers get lost: money moved there, and we were not told."""

    name = "unsteady"

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}
        self.silent = True

    async def charge(self, intent: PaymentIntent) -> PaymentOutcome:
        self.taken[intent.id] = intent.amount_micros
        if self.silent:
            raise PaymentUnavailable("The payment provider did not answer.")
        return PaymentOutcome(True, f"ref_{intent.id}")


class Poisoned(Unsteady):
    """A provider whose adapter has a bug with one payment."""

    async def charge(self, intent: PaymentIntent) -> PaymentOutcome:
        if intent.amount_micros == 6_000_000:
            raise ValueError("a bug of ours")
        return await super().charge(intent)


async def test_h27_an_attempt_that_cannot_be_finished_keeps_no_others_money_open(platform: Platform) -> None:
    clock, provider = ManualClock(), Poisoned()
    service = TopUpService(
        platform.get(Database), platform.get(LedgerService), platform.get(Statements), provider, clock, "USD"
    )
    for number, amount in enumerate((6_000_000, 5_000_000, 7_000_000)):
        with pytest.raises((PaymentUnavailable, ValueError)):
            await service.top_up(f"usr_{number}", amount, "k")
        clock.advance(1)
    provider.silent = False
    clock.advance(60)
    assert await service.finish_open() == 3
    async with platform.get(Database).transaction() as session:
        states = await session.execute(text("SELECT user_id, state FROM top_ups ORDER BY 1"))
        assert [tuple(row) for row in states] == [
            ("usr_0", "created"),
            ("usr_1", "succeeded"),
            ("usr_2", "succeeded"),
        ]


async def test_a_payment_whose_answer_was_lost_is_finished_once(platform: Platform) -> None:
    database, clock, provider = platform.get(Database), ManualClock(), Unsteady()
    service = TopUpService(
        database, platform.get(LedgerService), platform.get(Statements), provider, clock, "USD"
    )
    with pytest.raises(PaymentUnavailable):
        await service.top_up("usr_1", 5_000_000, "k")
    assert await service.finish_open() == 0  # not yet: the first try may still be on its way
    clock.advance(60)
    assert await service.finish_open() == 1
    provider.silent = False
    clock.advance(3600)
    assert await service.finish_open() == 1
    wallet, repeated = await service.top_up("usr_1", 5_000_000, "k")
    assert repeated
    assert wallet.available_micros == 5_000_000
    assert list(provider.taken.values()) == [5_000_000]
    assert await count(platform, "ledger_transfers") == 1
    assert await service.finish_open() == 0
