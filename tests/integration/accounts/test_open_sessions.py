"""Where somebody is signed in, ending a session from afar, and who is not let in at all."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from gp4u_server.accounts.service import Accounts
from gp4u_server.accounts.types import Role, Scope
from gp4u_server.api.app import create_app
from gp4u_server.bootstrap import build
from gp4u_server.demo.roster import ACCOUNTS
from gp4u_server.demo.roster import PASSWORD as DEMO_PASSWORD
from gp4u_server.foundation.platform import Platform
from gp4u_server.settings import Settings

from tests.integration.api.conftest import PASSWORD, bearer, client_of, tokens_of

SESSIONS = "/api/v1/sessions"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


async def listed(client: httpx2.AsyncClient, token: str, **query: Any) -> dict[str, Any]:
    answer = await client.get(SESSIONS, headers=bearer(token), params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def sign_in(client: httpx2.AsyncClient, email: str, user_agent: str = "curl/8.5") -> dict[str, Any]:
    answer = await client.post(
        "/api/v1/auth/token",
        json={"email": email, "password": PASSWORD},
        headers={"User-Agent": user_agent},
    )
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


async def test_every_session_is_listed_with_what_opened_it(client: httpx2.AsyncClient) -> None:
    await tokens_of(client, "ada@example.com")
    await tokens_of(client, "bob@example.com")
    await sign_in(client, "ada@example.com", FIREFOX)
    mine = await sign_in(client, "ada@example.com", "gp4u/0.1.0")
    items = (await listed(client, mine["access_token"]))["items"]
    assert [(item["kind"], item["device"], item["current"]) for item in items[:2]] == [
        ("program", "gp4u/0.1.0", True),
        ("program", "Firefox on Linux", False),
    ]
    assert len(items) == 4  # registering opened one, and so did the first token
    assert [item["kind"] for item in items].count("browser") == 1
    for item in items:
        assert item["created_at"] <= item["last_used_at"] < item["expires_at"]
    first = await listed(client, mine["access_token"], limit=3)
    rest = await listed(client, mine["access_token"], limit=3, cursor=first["next_cursor"])
    assert first["items"] + rest["items"] == items
    assert rest["next_cursor"] is None


async def test_last_used_moves_with_the_refresh(client: httpx2.AsyncClient) -> None:
    tokens = await tokens_of(client, "ada@example.com")
    before = (await listed(client, tokens["access_token"]))["items"][0]
    refreshed = await client.post(
        "/api/v1/auth/token/refresh", json={"refresh_token": tokens["refresh_token"]}
    )
    after = (await listed(client, refreshed.json()["access_token"]))["items"][0]
    assert after["id"] == before["id"]
    assert after["last_used_at"] > before["last_used_at"]


async def test_a_session_ended_from_afar_opens_nothing_any_more(client: httpx2.AsyncClient) -> None:
    await tokens_of(client, "ada@example.com")
    stolen = await sign_in(client, "ada@example.com")
    mine = await sign_in(client, "ada@example.com")
    found = next(i for i in (await listed(client, stolen["access_token"]))["items"] if i["current"])
    where = f"{SESSIONS}/{found['id']}"
    assert (await client.delete(where, headers=bearer(mine["access_token"]))).status_code == 204
    assert (await client.get(SESSIONS, headers=bearer(stolen["access_token"]))).status_code == 401
    refused = await client.post("/api/v1/auth/token/refresh", json={"refresh_token": stolen["refresh_token"]})
    assert refused.status_code == 401
    assert found["id"] not in {i["id"] for i in (await listed(client, mine["access_token"]))["items"]}
    again = await client.delete(where, headers=bearer(mine["access_token"]))
    assert again.status_code == 404


async def test_anothers_session_is_not_there_and_a_key_sees_none(client: httpx2.AsyncClient) -> None:
    ada, bob = await tokens_of(client, "ada@example.com"), await tokens_of(client, "bob@example.com")
    theirs = (await listed(client, bob["access_token"]))["items"][0]["id"]
    for session_id in (theirs, "ses_none"):
        answer = await client.delete(f"{SESSIONS}/{session_id}", headers=bearer(ada["access_token"]))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await listed(client, bob["access_token"]))["items"]
    body = {"name": "k", "scopes": [Scope.READ, Scope.WRITE]}
    key = (await client.post("/api/v1/api-keys", json=body, headers=bearer(ada["access_token"]))).json()[
        "key"
    ]
    for answer in (
        await client.get(SESSIONS, headers=bearer(key)),
        await client.delete(f"{SESSIONS}/{theirs}", headers=bearer(key)),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "session_required")


async def test_a_browser_that_ends_its_own_session_loses_its_cookies(client: httpx2.AsyncClient) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD}
    page = (await client.post("/api/v1/auth/register", json=body)).json()
    ours = {"X-CSRF-Token": page["csrf_token"], "Sec-Fetch-Site": "same-origin"}
    session_id = (await client.get(SESSIONS)).json()["items"][0]["id"]
    assert (await client.delete(f"{SESSIONS}/{session_id}")).status_code == 403  # no page of ours
    ended = await client.delete(f"{SESSIONS}/{session_id}", headers=ours)
    assert ended.status_code == 204, ended.text
    assert not client.cookies
    assert (await client.get(SESSIONS)).status_code == 401


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
async def address(platform: Platform) -> AsyncIterator[str]:
    """The application behind a real port, for a program of its own."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(platform), host="127.0.0.1", port=0, log_config=None, lifespan="off")
    )
    running = asyncio.create_task(server.serve())
    while not server.started:
        assert not running.done()
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await running


async def gp4u(config: Path, *arguments: str, told: str = "") -> tuple[int, str]:
    """Exit code and output of the command."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("gp4u")),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "GP4U_CONFIG": str(config)},
    )
    output, _ = await asyncio.wait_for(process.communicate(told.encode()), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_the_command_lists_sessions_and_signs_out_there(
    client: httpx2.AsyncClient, address: str, tmp_path: Path
) -> None:
    await tokens_of(client, "ada@example.com")
    mine = tmp_path / "mine.json"
    signing_in = ("login", address, "--email", "ada@example.com", "--password-stdin")
    assert (await gp4u(mine, *signing_in, told=f"{PASSWORD}\n"))[0] == 0
    code, output = await gp4u(mine, "sessions", "ls", "--json")
    items = json.loads(output)
    assert code == 0
    assert [item["current"] for item in items] == [True, False, False]
    assert items[0]["device"].startswith("gp4u/")
    for session in items[1:]:
        code, output = await gp4u(mine, "sessions", "end", session["id"], "--yes", "--json")
        assert (code, json.loads(output)["ended"]) == (0, session["id"])
    code, output = await gp4u(mine, "sessions", "end", items[1]["id"], "--yes")
    assert (code, "You have no session" in output) == (4, True)
    code, output = await gp4u(mine, "sessions", "ls")
    assert (code, output.count("ses_")) == (0, 1)
    assert "this one" in output


# --- demo accounts -----------------------------------------------------------------------------------------


async def demo_platform(settings: Settings) -> tuple[Platform, dict[str, str]]:
    """A platform that runs the demo on this machine: its accounts, and everything that opens one of them."""
    platform = build(settings.model_copy(update={"demo": True}), process="demo")
    accounts = platform.get(Accounts)
    for account in ACCOUNTS:
        await accounts.ensure_account(
            email=account.email, password=DEMO_PASSWORD, name=account.name, roles=account.roles
        )
    async with client_of(platform) as client:
        answer = await client.post(
            "/api/v1/auth/token", json={"email": "admin@gp4u.demo", "password": DEMO_PASSWORD}
        )
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        made = await client.post(
            "/api/v1/api-keys", json={"name": "k"}, headers=bearer(tokens["access_token"])
        )
        opened = {
            "access": tokens["access_token"],
            "refresh": tokens["refresh_token"],
            "key": made.json()["key"],
        }
        for credential in ("access", "key"):
            assert (await client.get("/api/v1/wallet", headers=bearer(opened[credential]))).status_code == 200
    return platform, opened


@pytest.mark.parametrize(
    "change",
    [
        {"demo": False},
        {"demo": True, "public_url": "https://gpus.example.org"},
        {"demo": True, "public_url": "http://10.0.0.7:8000"},
    ],
    ids=["without the demo", "public name", "public address"],
)
async def test_nobody_comes_in_as_a_demo_account_where_the_demo_does_not_run(
    settings: Settings, tmp_path: Path, change: dict[str, Any]
) -> None:
    """The data folder once had the demo: its accounts are there, their password is known to everybody."""
    demo, opened = await demo_platform(settings)
    await demo.close()
    later = build(settings.model_copy(update=change), process="later")
    try:
        async with client_of(later) as client:
            for account in ACCOUNTS:
                for route in ("token", "sign-in"):
                    body = {"email": account.email.upper(), "password": DEMO_PASSWORD}
                    answer = await client.post(f"/api/v1/auth/{route}", json=body)
                    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_credentials")
            for credential in ("access", "key"):
                answer = await client.get("/api/v1/wallet", headers=bearer(opened[credential]))
                assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
            answer = await client.post(
                "/api/v1/auth/token/refresh", json={"refresh_token": opened["refresh"]}
            )
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
            body = {"email": "new@gp4u.demo", "password": PASSWORD}
            answer = await client.post("/api/v1/auth/register", json=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "email_refused")
            await tokens_of(client, "ada@example.com", Role.RENTER)  # everybody else is let in
    finally:
        await later.close()
