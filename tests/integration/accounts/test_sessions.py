"""Sessions: cookies, refresh families, signing out, and what a foreign page cannot do."""

import asyncio
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import httpx2
import pytest
from gp4u_server.accounts.errors import InvalidToken, RefreshReused
from gp4u_server.accounts.refresh import REPLAY_GRACE
from gp4u_server.accounts.service import Accounts
from gp4u_server.accounts.types import Role, SignedIn
from gp4u_server.api.app import create_app
from gp4u_server.bootstrap import build
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.clock import SystemClock
from gp4u_server.kit.db import Database
from gp4u_server.settings import Settings
from sqlalchemy import text

from tests.integration.api.conftest import PASSWORD, bearer, client_of, tokens_of

REGISTER = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


class ShiftedClock(SystemClock):
    """The machine's clock, some time ahead."""

    ahead = timedelta(0)

    def now(self) -> Any:
        return super().now() + self.ahead


class StandingClock(SystemClock):
    """Stands still: however long a slow machine takes, it all happens within the grace."""

    def __init__(self) -> None:
        self._instant = super().now()

    def now(self) -> Any:
        return self._instant


async def sign_up(platform: Platform, email: str = "ada@example.com") -> SignedIn:
    accounts = platform.get(Accounts)
    return await accounts.register(
        email=email, password=PASSWORD, name="", roles={Role.RENTER}, kind="program"
    )


def cookies_of(answer: httpx2.Response) -> SimpleCookie:
    jar = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        jar.load(line)
    return jar


async def test_cookies_are_out_of_scripts_reach_and_narrow(client: httpx2.AsyncClient) -> None:
    jar = cookies_of(await client.post("/api/v1/auth/register", json=REGISTER))
    assert set(jar) == {"gp4u_access", "gp4u_refresh"}
    for cookie in jar.values():
        assert cookie["httponly"] is True
        assert cookie["samesite"] == "lax"
        assert cookie["secure"] == ""
    assert (jar["gp4u_access"]["path"], jar["gp4u_access"]["max-age"]) == ("/", "600")
    assert jar["gp4u_refresh"]["path"] == "/api/v1/auth"


async def test_over_https_cookies_are_secure_and_bound_to_the_host(settings: Settings) -> None:
    platform = build(settings.model_copy(update={"public_url": "https://gp4u.example"}))
    async with client_of(platform) as client:
        answer = await client.post("/api/v1/auth/register", json=REGISTER)
    await platform.close()
    jar = cookies_of(answer)
    assert set(jar) == {"__Host-gp4u_access", "__Secure-gp4u_refresh"}
    assert all(cookie["secure"] is True and cookie["domain"] == "" for cookie in jar.values())
    assert "max-age=" in answer.headers["strict-transport-security"]


async def test_tokens_never_appear_in_a_browsers_answer(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/api/v1/auth/register", json=REGISTER)
    assert set(answer.json()) == {"user", "csrf_token"}
    assert not any(cookie.value in answer.text for cookie in cookies_of(answer).values())


CSRF = "own"
CSRF_CASES = [
    ({"Sec-Fetch-Site": "same-origin"}, CSRF, True),
    ({"Sec-Fetch-Site": "none"}, CSRF, True),
    ({"Origin": "http://127.0.0.1:8000"}, CSRF, True),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8000"}, CSRF, True),
    ({}, CSRF, False),
    ({"Sec-Fetch-Site": "cross-site"}, CSRF, False),
    ({"Sec-Fetch-Site": "same-site"}, CSRF, False),
    ({"Sec-Fetch-Site": ""}, CSRF, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8000"}, CSRF, False),
    ({"Origin": "https://evil.example"}, CSRF, False),
    ({"Origin": "null"}, CSRF, False),
    ({"Origin": "http://127.0.0.1:8001"}, CSRF, False),
    ({"Origin": "https://127.0.0.1:8000"}, CSRF, False),
    ({"Referer": "http://127.0.0.1:8000/"}, CSRF, False),
    (SAME_ORIGIN, None, False),
    (SAME_ORIGIN, "", False),
    (SAME_ORIGIN, "0" * 64, False),
    (SAME_ORIGIN, "another's", False),
]


@pytest.mark.parametrize(("headers", "token", "allowed"), CSRF_CASES)
async def test_an_unsafe_request_by_cookie_needs_our_page_and_the_sessions_token(
    client: httpx2.AsyncClient, headers: dict[str, str], token: str | None, allowed: bool
) -> None:
    other = (await client.post("/api/v1/auth/register", json=REGISTER | {"email": "eve@example.com"})).json()
    client.cookies.clear()
    own = (await client.post("/api/v1/auth/register", json=REGISTER)).json()
    assert own["csrf_token"] != other["csrf_token"]
    sent = {"own": own["csrf_token"], "another's": other["csrf_token"]}.get(token or "", token)
    answer = await client.post(
        "/api/v1/api-keys",
        json={"name": "x"},
        headers=headers | ({} if sent is None else {"X-CSRF-Token": sent}),
    )
    if allowed:
        assert answer.status_code == 201, answer.text
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_refused")
        assert (await client.get("/api/v1/api-keys")).json()["items"] == []


async def test_a_form_of_a_foreign_page_cannot_act(client: httpx2.AsyncClient) -> None:
    own = (await client.post("/api/v1/auth/register", json=REGISTER)).json()
    headers = SAME_ORIGIN | {"X-CSRF-Token": own["csrf_token"], "Content-Type": "text/plain"}
    answer = await client.post("/api/v1/api-keys", content='{"name": "x"}', headers=headers)
    assert answer.status_code == 422


@pytest.mark.parametrize("path", ["/api/v1/auth/sign-in", "/api/v1/auth/register"])
async def test_a_foreign_page_cannot_sign_a_browser_in(client: httpx2.AsyncClient, path: str) -> None:
    body = REGISTER if path.endswith("register") else {"email": "ada@example.com", "password": PASSWORD}
    answer = await client.post(path, json=body, headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_refused")


async def test_a_header_wins_and_cookies_are_then_not_looked_at(client: httpx2.AsyncClient) -> None:
    eve = await tokens_of(client, "eve@example.com")
    await client.post("/api/v1/auth/register", json=REGISTER)
    as_header = await client.get("/api/v1/auth/session", headers=bearer(eve["access_token"]))
    assert as_header.json()["user"]["email"] == "eve@example.com"
    # A good cookie does not save a bad header, and a header needs no CSRF token.
    for bad in ("Bearer nonsense", "Bearer ", "Basic YTpi", "gp4u_x"):
        refused = await client.get("/api/v1/auth/session", headers={"Authorization": bad})
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
    made = await client.post("/api/v1/api-keys", json={"name": "x"}, headers=bearer(eve["access_token"]))
    assert made.status_code == 201


async def test_the_browser_refreshes_when_only_its_refresh_cookie_is_left(client: httpx2.AsyncClient) -> None:
    registered = await client.post("/api/v1/auth/register", json=REGISTER)
    client.cookies.delete("gp4u_access")
    assert (await client.get("/api/v1/auth/session")).status_code == 401
    assert (await client.post("/api/v1/auth/refresh")).json()["code"] == "csrf_refused"
    refreshed = await client.post("/api/v1/auth/refresh", headers=SAME_ORIGIN)
    assert refreshed.json() == registered.json()  # the session goes on, so its csrf_token stays good
    assert (await client.get("/api/v1/auth/session")).json() == registered.json()


async def test_signing_out_ends_the_session_for_its_tokens_too(client: httpx2.AsyncClient) -> None:
    registered = await client.post("/api/v1/auth/register", json=REGISTER)
    jar = cookies_of(registered)
    access, refresh = jar["gp4u_access"].value, jar["gp4u_refresh"].value
    without_token = await client.post("/api/v1/auth/sign-out", headers=SAME_ORIGIN)
    assert without_token.json()["code"] == "csrf_refused"
    out = await client.post(
        "/api/v1/auth/sign-out", headers=SAME_ORIGIN | {"X-CSRF-Token": registered.json()["csrf_token"]}
    )
    assert out.status_code == 204
    assert all(cookie.value == "" for cookie in cookies_of(out).values())
    stolen = await client.get("/api/v1/auth/session", headers=bearer(access))
    assert (stolen.status_code, stolen.json()["code"]) == (401, "invalid_token")
    again = await client.post("/api/v1/auth/token/refresh", json={"refresh_token": refresh})
    assert again.status_code == 401
    assert (await client.post("/api/v1/auth/sign-out")).status_code == 204  # nobody is signed in: harmless


async def test_h21_two_hundred_uses_of_a_refresh_token_make_one_successor(settings: Settings) -> None:
    platform = build(settings, clock=StandingClock())
    accounts, signed_in = platform.get(Accounts), await sign_up(platform)
    answers = await asyncio.gather(*(accounts.refresh(signed_in.refresh_token) for _ in range(200)))
    assert len({answer.refresh_token for answer in answers}) == 1
    async with platform.get(Database).transaction() as session:
        counted = await session.execute(
            text("SELECT count(*), count(*) FILTER (WHERE used_at IS NULL) FROM refresh_tokens")
        )
        assert tuple(counted.one()) == (2, 1)
    await platform.close()


async def test_h21_a_lost_answer_is_given_again_until_the_successor_was_used(platform: Platform) -> None:
    accounts, first = platform.get(Accounts), await sign_up(platform)
    second = await accounts.refresh(first.refresh_token)
    assert (await accounts.refresh(first.refresh_token)).refresh_token == second.refresh_token
    third = await accounts.refresh(second.refresh_token)
    with pytest.raises(RefreshReused):
        await accounts.refresh(first.refresh_token)
    with pytest.raises(InvalidToken):
        await accounts.refresh(third.refresh_token)


async def test_h21_reuse_ends_the_family_in_every_process_at_once(settings: Settings) -> None:
    clock = ShiftedClock()
    here, elsewhere = build(settings, clock=clock), build(settings, clock=clock)
    thief = (await sign_up(here)).refresh_token
    owner = await here.get(Accounts).refresh(thief)
    clock.ahead = REPLAY_GRACE + timedelta(seconds=1)
    async with client_of(here) as client, client_of(elsewhere) as other:
        session = "/api/v1/auth/session"
        assert (await other.get(session, headers=bearer(owner.access_token))).status_code == 200
        reused = await client.post("/api/v1/auth/token/refresh", json={"refresh_token": thief})
        assert (reused.status_code, reused.json()["code"]) == (401, "refresh_token_reused")
        for end in (client, other):
            assert (await end.get(session, headers=bearer(owner.access_token))).status_code == 401
            refused = await end.post(
                "/api/v1/auth/token/refresh", json={"refresh_token": owner.refresh_token}
            )
            assert refused.json()["code"] == "invalid_token"
    await here.close()
    await elsewhere.close()


async def test_another_family_of_the_same_person_lives_on(platform: Platform) -> None:
    accounts, first = platform.get(Accounts), await sign_up(platform)
    other = await accounts.sign_in(email="ada@example.com", password=PASSWORD, kind="browser")
    await accounts.refresh((await accounts.refresh(first.refresh_token)).refresh_token)
    with pytest.raises(RefreshReused):
        await accounts.refresh(first.refresh_token)
    assert await accounts.refresh(other.refresh_token)


async def test_a_family_ends_after_thirty_days_however_often_it_is_refreshed(settings: Settings) -> None:
    clock = ShiftedClock()
    platform = build(settings, clock=clock)
    token = (await sign_up(platform)).refresh_token
    for day in (10, 20, 29):
        clock.ahead = timedelta(days=day)
        token = (await platform.get(Accounts).refresh(token)).refresh_token
    clock.ahead = timedelta(days=30, seconds=1)
    with pytest.raises(InvalidToken):
        await platform.get(Accounts).refresh(token)
    await platform.close()


async def test_an_access_token_ends_after_ten_minutes(settings: Settings) -> None:
    clock = ShiftedClock()
    platform = build(settings, clock=clock)
    token = (await sign_up(platform)).access_token
    async with client_of(platform, app=create_app(platform)) as client:
        clock.ahead = timedelta(seconds=590)
        assert (await client.get("/api/v1/auth/session", headers=bearer(token))).status_code == 200
        clock.ahead = timedelta(seconds=601)
        late = await client.get("/api/v1/auth/session", headers=bearer(token))
    assert (late.status_code, late.json()["code"]) == (401, "token_expired")
    await platform.close()


async def test_nothing_that_opens_the_door_is_stored_as_it_is(platform: Platform) -> None:
    signed_in = await sign_up(platform)
    later = await platform.get(Accounts).refresh(signed_in.refresh_token)
    async with platform.get(Database).transaction() as session:
        rows = [
            str(dict(row._mapping))
            for table in ("users", "sessions", "refresh_tokens")
            for row in await session.execute(text(f"SELECT * FROM {table}"))
        ]
    stored = "".join(rows)
    for secret in (PASSWORD, signed_in.refresh_token, later.refresh_token, later.access_token):
        assert secret not in stored
