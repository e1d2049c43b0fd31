"""Promises that hold for every operation of a kind: fenced by epoch, done once for one key."""

import asyncio
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from tests.integration.contract.town import Operation, Town, operations
from tests.integration.market_world import facts, signed

# POSTs that make something and take no Idempotency-Key, and what makes a repetition harmless instead.
ONCE_BY_OTHER_MEANS = {
    "register": "the address is unique: 409",
    "create_api_key": "its answer is a secret, which must not be stored; a key too many is seen and revoked",
    "create_enrolment_token": "its answer is a secret; a token too many ends by itself in 10 minutes",
    "create_upload": "addressed by content: the same bytes are the same upload",
    "plan_maintenance": "a repetition overlaps the first: 422",
    "join": "the token is good once: 401",
    "open_upload": "an open upload that is left over is recorded and swept; a commit needs its own",
    "commit_checkpoint": "an upload is committed once and then answers the same",
}


NOT_BY_EPOCH = {"join", "read_upload", "download_for_standby"}
"""One comes before any placement; the others are bound to what the node has, and no epoch is named."""


def agents() -> list[Operation]:
    return [operation for operation in operations().values() if operation.path.startswith("/api/v1/agent/")]


async def test_h3_every_agent_operation_of_the_document_refuses_an_old_epoch(town: Town) -> None:
    """From the OpenAPI document, so a new route is asked too. Nothing at all changes in the database."""
    fenced = [operation for operation in agents() if operation.id not in NOT_BY_EPOCH]
    assert len(fenced) >= 7
    await town.fail_over()
    before = await town.rows()
    for operation in fenced:
        answer = await town.call(operation, "agent")
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_epoch"), (
            operation.id,
            answer.text,
        )
    upload = await town.call(operations()["read_upload"], "agent")
    assert upload.status_code == 404  # bound to the node's live placements
    assert await town.rows() == before


async def test_h3_a_standby_that_is_over_is_given_no_address_any_more(town: Town) -> None:
    """It has no epoch, for it runs nothing: it is bound to the standby, which ends when its job is placed."""
    download = operations()["download_for_standby"]
    assert (await town.call(download, "agent")).status_code == 200
    async with town.database.transaction() as session:
        over = text("UPDATE standbys SET state = 'ended', reason = 'passed_over', ended_at = now()")
        await session.execute(over)
    before = await town.rows()
    assert (await town.call(download, "agent")).status_code == 404
    assert await town.rows() == before


async def test_h3_an_epoch_of_the_future_is_refused_too(town: Town) -> None:
    town.placement = {**town.placement, "epoch": town.placement["epoch"] + 1}
    before = await town.rows()
    for operation in agents():
        if operation.id not in NOT_BY_EPOCH:
            answer = await town.call(operation, "agent")
            assert answer.status_code in (404, 409), (operation.id, answer.text)
    assert await town.rows() == before


def test_h22_every_post_that_makes_something_says_how_a_repetition_is_harmless() -> None:
    made = {o.id for o in operations().values() if o.method == "POST" and "201" in o.spec["responses"]}
    keyed = {o.id for o in operations().values() if o.takes_a_key}
    assert keyed >= {"create_booking", "submit_job", "top_up"}
    assert made - keyed == set(ONCE_BY_OTHER_MEANS)
    assert keyed & set(ONCE_BY_OTHER_MEANS) == set()


@dataclass(frozen=True)
class Keyed:
    """Who sends a keyed POST, what, and another body that could be sent with the same key by mistake."""

    who: str
    body: dict[str, Any]
    other: dict[str, Any]
    twice: int = 201  # what a second one without a key is answered


async def keyed_posts(town: Town) -> list[tuple[Operation, Keyed]]:
    """Every operation that promises `Idempotency-Key`; one that is not in this table fails here."""
    await town.market.offer(gpus=8)
    node = await town.market.node()
    made = town.examples()
    job, booking = made["submit_job"], made["create_booking"]
    booking = {**booking, "offer_id": (await town.market.offer(gpus=8))["id"]}
    listing = {"node_id": node["node_id"], "price_per_gpu_hour_micros": 500_000}
    table = {
        "top_up": Keyed("renter", {"amount_micros": 5_000_000}, {"amount_micros": 5_000_001}),
        "submit_job": Keyed("renter", job, {**job, "command": "false"}),
        "create_booking": Keyed("renter", booking, {**booking, "job": {**job, "command": "false"}}),
        "list_offer": Keyed("owner", listing, {**listing, "price_per_gpu_hour_micros": 600_000}, twice=409),
    }
    return [(found, table[found.id]) for found in operations().values() if found.takes_a_key]


async def test_h22_fifty_posts_with_one_key_change_the_database_once(town: Town) -> None:
    """Each operation that promises it: 50 at once, then once more; the whole database says that one happened."""
    for operation, sent in await keyed_posts(town):
        headers = {**town.people[sent.who], "Idempotency-Key": f"key of {operation.id}"}
        body, path = sent.body, town.path(operation)
        answers = await asyncio.gather(*(town.http.post(path, json=body, headers=headers) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {201}, (operation.id, answers[0].text)
        assert len({answer.content for answer in answers}) == 1, operation.id
        after = await town.rows()
        again = await town.http.post(path, json=body, headers=headers)
        assert again.content == answers[0].content, operation.id
        assert again.headers["Idempotent-Replayed"] == "true", operation.id
        assert await town.rows() == after, operation.id
        theirs = await town.http.post(path, json=body, headers={**headers, **town.people["both"]})
        assert theirs.content != answers[0].content, operation.id
    jobs = await town.market.ok("GET", "/jobs", town.people["renter"])
    assert sum(job["name"] == "again" for job in jobs["items"]) == 2  # one by /jobs, one by /bookings


async def test_h22_a_key_with_another_body_is_refused_and_changes_nothing(town: Town) -> None:
    for operation, sent in await keyed_posts(town):
        headers = {**town.people[sent.who], "Idempotency-Key": "k" * 255}
        path = town.path(operation)
        assert (await town.http.post(path, json=sent.body, headers=headers)).status_code == 201, operation.id
        before = await town.rows()
        changed = await town.http.post(path, json=sent.other, headers=headers)
        assert changed.status_code == 422, (operation.id, changed.text)
        assert changed.json()["code"] == "idempotency_key_reused", operation.id
        assert await town.rows() == before, operation.id


async def test_h22_without_a_key_every_post_is_one_of_its_own(town: Town) -> None:
    """And a header that is no key is refused, so that a client which sends an empty one notices."""
    for operation, sent in await keyed_posts(town):
        person, path = town.people[sent.who], town.path(operation)
        before = await town.rows()
        for key in ("", "k" * 256):
            refused = await town.http.post(path, json=sent.body, headers={**person, "Idempotency-Key": key})
            assert refused.status_code == 422, (operation.id, key, refused.text)
        assert await town.rows() == before, operation.id
        first, second = [await town.http.post(path, json=sent.body, headers=person) for _ in range(2)]
        assert (first.status_code, second.status_code) == (201, sent.twice), (operation.id, second.text)
        assert "Idempotent-Replayed" not in first.headers, operation.id
        assert first.content != second.content, operation.id


async def test_h22_a_refusal_is_not_remembered(town: Town) -> None:
    """What was refused for want of money goes through with the same key once there is some."""
    key = {**town.people["stranger"], "Idempotency-Key": "k"}
    job = town.job_body()
    poor = await town.http.post("/api/v1/jobs", json=job, headers=key)
    assert (poor.status_code, poor.json()["code"]) == (402, "insufficient_funds")
    await town.market.ok(
        "POST", "/wallet/top-ups", town.people["stranger"], json={"amount_micros": 50_000_000}
    )
    made = await town.http.post("/api/v1/jobs", json=job, headers=key)
    assert made.status_code == 201, made.text


async def test_h21_two_hundred_joins_with_one_token_over_http_make_one_node(town: Town) -> None:
    made = await town.market.ok("POST", "/enrolment-tokens", town.people["owner"], json={"region": "eu-west"})

    async def join(number: int) -> int:
        body = {**signed(made["token"]), "facts": facts(tag=f"race{number}").model_dump(mode="json")}
        return (await town.http.post("/api/v1/agent/join", json=body)).status_code

    answers = await asyncio.gather(*(join(number) for number in range(200)))
    assert sorted(set(answers)) == [201, 401]
    assert answers.count(201) == 1
