"""`Idempotency-Key`: sent twice, done once, answered twice."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import httpx2
import pytest
from fastapi import Header, Response
from gp4u_server.api.app import create_app
from gp4u_server.foundation.idempotency import IdempotencyKey, hash_of, idempotent, sweep_idempotency_keys
from gp4u_server.foundation.platform import Platform
from gp4u_server.foundation.web import Session
from gp4u_server.kit.db import Database
from gp4u_server.kit.errors import DomainError, Kind
from gp4u_server.kit.ids import new_id
from pydantic import BaseModel
from sqlalchemy import text

from tests.integration.api.conftest import client_of


class ThingIn(BaseModel):
    name: str
    tags: set[str] = set()
    refuse: bool = False


class ThingOut(BaseModel):
    id: str
    name: str


class Refused(DomainError):
    code = "refused"
    kind = Kind.CONFLICT


@pytest.fixture
async def things(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application with an endpoint that makes things."""
    async with platform.get(Database).transaction() as session:
        await session.execute(text("CREATE TABLE things (id text)"))
    app = create_app(platform)
    before = len(app.router.routes)

    @app.post("/api/v1/things", status_code=201, response_model=ThingOut)
    async def make_thing(
        body: ThingIn, session: Session, who: Annotated[str, Header()], key: IdempotencyKey = None
    ) -> Response:
        async def make() -> ThingOut:
            made = ThingOut(id=new_id("thg"), name=body.name)
            await session.execute(text("INSERT INTO things VALUES (:id)"), {"id": made.id})
            if body.refuse:
                raise Refused("Not now.")
            return made

        return await idempotent(session, principal=who, route="POST /things", key=key, body=body, action=make)

    app.router.routes[:] = [*app.router.routes[before:], *app.router.routes[:before]]
    async with client_of(platform, app=app) as opened:
        yield opened


async def made(platform: Platform) -> int:
    async with platform.get(Database).transaction() as session:
        counted: int = (await session.execute(text("SELECT count(*) FROM things"))).scalar_one()
        return counted


async def post(
    client: httpx2.AsyncClient, key: str | None, *, who: str = "ada", **body: object
) -> httpx2.Response:
    headers = {"who": who} | ({} if key is None else {"Idempotency-Key": key})
    return await client.post("/api/v1/things", json={"name": "x"} | body, headers=headers)


async def test_h22_fifty_posts_at_once_with_one_key_make_one_thing(
    things: httpx2.AsyncClient, platform: Platform
) -> None:
    answers = await asyncio.gather(*(post(things, "k") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 49
    assert await made(platform) == 1


async def test_h22_the_same_key_with_another_body_is_refused(
    things: httpx2.AsyncClient, platform: Platform
) -> None:
    await post(things, "k")
    other = await post(things, "k", name="y")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await made(platform) == 1


async def test_h22_anothers_key_never_matches(things: httpx2.AsyncClient, platform: Platform) -> None:
    mine, theirs = await post(things, "k"), await post(things, "k", who="eve")
    assert mine.json()["id"] != theirs.json()["id"]
    assert await made(platform) == 2


async def test_h22_a_refusal_leaves_the_key_free(things: httpx2.AsyncClient, platform: Platform) -> None:
    refused = await post(things, "k", refuse=True)
    assert refused.status_code == 409
    assert await made(platform) == 0
    assert (await post(things, "k")).status_code == 201
    mixed = await asyncio.gather(*(post(things, "m", refuse=True) for _ in range(5)))
    assert {answer.status_code for answer in mixed} == {409}
    assert await made(platform) == 1


async def test_without_a_key_every_post_counts(things: httpx2.AsyncClient, platform: Platform) -> None:
    await asyncio.gather(*(post(things, None) for _ in range(3)))
    assert await made(platform) == 3


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_has_a_sensible_length(things: httpx2.AsyncClient, key: str) -> None:
    assert (await post(things, key)).json()["code"] == "validation_failed"


async def test_keys_are_forgotten_after_a_day_in_batches(
    things: httpx2.AsyncClient, platform: Platform
) -> None:
    for number in range(5):
        await post(things, f"old {number}")
    database = platform.get(Database)
    async with database.transaction() as session:
        await session.execute(
            text("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
        )
    await post(things, "new")
    swept = []
    for _ in range(3):
        async with database.transaction() as session:
            swept.append(await sweep_idempotency_keys(session, batch=3))
    assert swept == [3, 2, 0]
    assert "idempotent-replayed" in (await post(things, "new")).headers


def test_a_body_has_one_hash_however_its_sets_are_ordered() -> None:
    forwards, backwards = set(), set()
    for number in range(50):
        forwards.add(f"tag {number}")
        backwards.add(f"tag {49 - number}")
    assert hash_of(ThingIn(name="x", tags=forwards)) == hash_of(ThingIn(name="x", tags=backwards))
    assert hash_of(ThingIn(name="x", tags={"a"})) != hash_of(ThingIn(name="x", tags={"b"}))
