"""Accounts, roles and API keys over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from gp4u_server.accounts.command import grant
from gp4u_server.accounts.keys import new_key
from gp4u_server.accounts.service import Accounts
from gp4u_server.accounts.types import Role
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.db import Database
from gp4u_server.kit.errors import NotFound
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import text

from tests.integration.api.conftest import PASSWORD, bearer, tokens_of

KEYS = "/api/v1/api-keys"


async def new_api_key(client: httpx2.AsyncClient, token: str, **fields: Any) -> dict[str, Any]:
    made = await client.post(KEYS, json={"name": "ci"} | fields, headers=bearer(token))
    assert made.status_code == 201, made.text
    answer: dict[str, Any] = made.json()
    return answer


async def test_an_address_has_one_account_whatever_its_case(client: httpx2.AsyncClient) -> None:
    await tokens_of(client, "Ada@Example.com")
    again = await client.post(
        "/api/v1/auth/register", json={"email": "ADA@example.com", "password": PASSWORD}
    )
    assert (again.status_code, again.json()["code"]) == (409, "email_taken")
    signed_in = await client.post(
        "/api/v1/auth/token", json={"email": "ada@EXAMPLE.com", "password": PASSWORD}
    )
    assert signed_in.status_code == 200


async def test_of_two_registrations_at_once_one_wins(client: httpx2.AsyncClient) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD}
    answers = await asyncio.gather(*(client.post("/api/v1/auth/register", json=body) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


@pytest.mark.parametrize("email", ["", "ada", "ada@", "@example.com", "ada@example", "a b@example.com"])
async def test_what_is_not_an_address_is_refused(client: httpx2.AsyncClient, email: str) -> None:
    answer = await client.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["email"]


async def test_weak_passwords_are_refused(client: httpx2.AsyncClient) -> None:
    for password in ("short", "password123", "ada@example.com", "x" * 1025):
        answer = await client.post(
            "/api/v1/auth/register", json={"email": "ada@example.com", "password": password}
        )
        assert answer.status_code == 422
        assert answer.json()["code"] in ("password_refused", "validation_failed")
        assert password not in answer.text or password == "ada@example.com"


@pytest.mark.parametrize("roles", [["admin"], ["operator"], ["renter", "admin"], []])
async def test_nobody_makes_themselves_an_admin(client: httpx2.AsyncClient, roles: list[str]) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD, "roles": roles}
    answer = await client.post("/api/v1/auth/register", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "role_not_self_chosen")


async def test_unknown_address_and_wrong_password_look_the_same(client: httpx2.AsyncClient) -> None:
    await tokens_of(client, "ada@example.com")
    wrong = await client.post(
        "/api/v1/auth/token", json={"email": "ada@example.com", "password": "wrong one"}
    )
    unknown = await client.post(
        "/api/v1/auth/token", json={"email": "eve@example.com", "password": "wrong one"}
    )
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() | {"request_id": ""} == unknown.json() | {"request_id": ""}


async def test_a_granted_role_counts_for_tokens_that_were_there_before(
    client: httpx2.AsyncClient, platform: Platform
) -> None:
    ada = await tokens_of(client, "ada@example.com")
    accounts, database = platform.get(Accounts), platform.get(Database)
    for _ in range(2):
        async with database.transaction() as session:
            user = await accounts.grant_role(session, email="ADA@example.com", role=Role.ADMIN)
    assert user.roles == {Role.RENTER, Role.ADMIN}
    seen = await client.get("/api/v1/auth/session", headers=bearer(ada["access_token"]))
    assert seen.json()["user"]["roles"] == ["renter", "admin"]
    with pytest.raises(NotFound):
        async with database.transaction() as session:
            await accounts.grant_role(session, email="nobody@example.com", role=Role.ADMIN)


async def test_a_password_is_hashed_anew_when_the_parameters_changed(
    client: httpx2.AsyncClient, platform: Platform
) -> None:
    await tokens_of(client, "ada@example.com")
    database = platform.get(Database)
    old = Argon2Hasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)
    async with database.transaction() as session:
        await session.execute(text("UPDATE users SET password_hash = :old"), {"old": old})
    credentials = {"email": "ada@example.com", "password": PASSWORD}
    assert (await client.post("/api/v1/auth/token", json=credentials)).status_code == 200
    async with database.transaction() as session:
        renewed = (await session.execute(text("SELECT password_hash FROM users"))).scalar_one()
    assert "m=19456,t=2" in renewed
    assert (await client.post("/api/v1/auth/token", json=credentials)).status_code == 200


async def test_an_api_key_is_shown_once_and_stored_as_a_hash(
    client: httpx2.AsyncClient, platform: Platform
) -> None:
    token = (await tokens_of(client, "ada@example.com"))["access_token"]
    made = await new_api_key(client, token)
    listed = await client.get(KEYS, headers=bearer(token))
    assert made["key"] not in listed.text
    assert listed.json()["items"] == [{name: value for name, value in made.items() if name != "key"}]
    assert made["key"].startswith(made["prefix"])
    async with platform.get(Database).transaction() as session:
        row = (await session.execute(text("SELECT * FROM api_keys"))).one()
    assert made["key"] not in str(row)


@pytest.mark.parametrize(
    ("scopes", "reads", "writes"),
    [(["read"], 200, 403), (["write"], 403, 403), (["read", "write"], 200, 403)],
)
async def test_scopes_of_a_key_are_enforced(
    client: httpx2.AsyncClient, scopes: list[str], reads: int, writes: int
) -> None:
    token = (await tokens_of(client, "ada@example.com"))["access_token"]
    key = (await new_api_key(client, token, scopes=scopes))["key"]
    read = await client.get("/api/v1/auth/session", headers=bearer(key))
    assert read.status_code == reads
    if reads == 403:
        assert read.json()["code"] == "scope_required"
    write = await client.post(KEYS, json={"name": "more"}, headers=bearer(key))
    assert write.status_code == writes
    # With the scope write the refusal is another one: a key never makes keys.
    assert write.json()["code"] == ("session_required" if "write" in scopes else "scope_required")


async def test_a_key_with_the_scope_admin_needs_an_admin(client: httpx2.AsyncClient) -> None:
    token = (await tokens_of(client, "ada@example.com"))["access_token"]
    answer = await client.post(KEYS, json={"name": "x", "scopes": ["admin"]}, headers=bearer(token))
    assert (answer.status_code, answer.json()["code"]) == (403, "role_required")


async def test_revoked_expired_and_unknown_keys_open_nothing(
    client: httpx2.AsyncClient, platform: Platform
) -> None:
    token = (await tokens_of(client, "ada@example.com"))["access_token"]
    revoked = await new_api_key(client, token)
    expired = await new_api_key(
        client, token, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat()
    )
    assert (await client.get("/api/v1/auth/session", headers=bearer(expired["key"]))).status_code == 200
    assert (await client.delete(f"{KEYS}/{revoked['id']}", headers=bearer(token))).status_code == 204
    async with platform.get(Database).transaction() as session:
        past = {"past": datetime.now(UTC) - timedelta(seconds=1), "id": expired["id"]}
        await session.execute(text("UPDATE api_keys SET expires_at = :past WHERE id = :id"), past)
    for key in (revoked["key"], expired["key"], new_key(), new_key()[:-1] + "!"):
        answer = await client.get("/api/v1/auth/session", headers=bearer(key))
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_another_tenants_key_is_answered_like_a_missing_one(client: httpx2.AsyncClient) -> None:
    ada, eve = [await tokens_of(client, f"{name}@example.com") for name in ("ada", "eve")]
    made = await new_api_key(client, ada["access_token"])
    foreign = await client.delete(f"{KEYS}/{made['id']}", headers=bearer(eve["access_token"]))
    missing = await client.delete(f"{KEYS}/key_0", headers=bearer(eve["access_token"]))
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json() | {"request_id": ""} == missing.json() | {"request_id": ""}
    assert (await client.get("/api/v1/auth/session", headers=bearer(made["key"]))).status_code == 200


async def test_the_use_of_a_key_is_noted_at_most_once_a_minute(
    client: httpx2.AsyncClient, platform: Platform
) -> None:
    token = (await tokens_of(client, "ada@example.com"))["access_token"]
    key = (await new_api_key(client, token))["key"]

    async def used_at() -> str | None:
        found: str | None = (await client.get(KEYS, headers=bearer(token))).json()["items"][0]["last_used_at"]
        return found

    assert await used_at() is None
    for _ in range(3):
        await client.get("/api/v1/auth/session", headers=bearer(key))
    first = await used_at()
    assert first is not None
    await client.get("/api/v1/auth/session", headers=bearer(key))
    assert await used_at() == first
    async with platform.get(Database).transaction() as session:
        await session.execute(text("UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds'"))
    await client.get("/api/v1/auth/session", headers=bearer(key))
    assert await used_at() > first


async def test_an_account_has_at_most_fifty_live_keys_and_lists_them_in_pages(
    client: httpx2.AsyncClient,
) -> None:
    token = (await tokens_of(client, "ada@example.com"))["access_token"]
    for number in range(48):
        await new_api_key(client, token, name=f"key {number}")
    answers = await asyncio.gather(
        *(client.post(KEYS, json={"name": "late"}, headers=bearer(token)) for _ in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409, 409]
    seen, cursor = [], None
    while True:
        page = (
            await client.get(
                KEYS, params={"limit": 20} | ({"cursor": cursor} if cursor else {}), headers=bearer(token)
            )
        ).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 50
    assert seen == sorted(seen, reverse=True)


async def test_an_expiry_in_the_past_is_refused(client: httpx2.AsyncClient) -> None:
    token = (await tokens_of(client, "ada@example.com"))["access_token"]
    for expiry in ("2020-01-01T00:00:00Z", "2999-01-01T00:00:00"):
        answer = await client.post(KEYS, json={"name": "x", "expires_at": expiry}, headers=bearer(token))
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_expiry")


async def test_the_command_grants_a_role_and_says_when_nobody_has_the_address(
    client: httpx2.AsyncClient, database_url: str
) -> None:
    await tokens_of(client, "ada@example.com")
    options = ["--database-url", database_url]
    granted = await asyncio.to_thread(CliRunner().invoke, grant, ["ada@example.com", "operator", *options])
    assert (granted.exit_code, granted.output) == (0, "ada@example.com holds: renter, operator\n")
    unknown = await asyncio.to_thread(CliRunner().invoke, grant, ["eve@example.com", "admin", *options])
    assert unknown.exit_code == 1
    assert "There is no account with this address." in unknown.output
