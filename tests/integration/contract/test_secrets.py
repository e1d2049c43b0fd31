"""Nothing that opens a door is kept in the clear: not in a table, not in a log line, not in an answer to a mistake."""

import base64
import logging
from collections.abc import Iterable

import pytest
import structlog
from gp4u_server.accounts.tokens import SIGNING_KEY_FILE
from sqlalchemy import text

from tests.integration.api.conftest import PASSWORD
from tests.integration.contract.town import Town, operations
from tests.integration.market_world import facts, signed

ODD_PASSWORD = "a-password-of-my-own-4711"


def forms_of(secret: str) -> Iterable[str]:
    """How a secret may lie about: as it is, in hexadecimal as PostgreSQL shows bytes, in base64."""
    raw = secret.encode()
    return secret, raw.hex(), base64.b64encode(raw).decode().rstrip("=")


def found_in(where: str, haystack: str, secrets: dict[str, str]) -> list[str]:
    return [
        f"{name} in {where}"
        for name, secret in secrets.items()
        if any(form in haystack for form in forms_of(secret))
    ]


async def everything_stored(town: Town) -> dict[str, str]:
    """table → all its rows as text."""
    async with town.database.transaction() as session:
        names = await session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        return {
            name: "\n".join(await session.scalars(text(f"SELECT t::text FROM {name} t")))
            for name in names.all()
        }


async def open_every_door(town: Town) -> dict[str, str]:
    """Make one of everything that opens something; answers what each is."""
    market = town.market
    body = {"email": "secretive@example.org", "password": ODD_PASSWORD, "name": "S", "roles": ["owner"]}
    await market.ok("POST", "/auth/register", json=body)
    cookies = dict(town.http.cookies.items())
    town.http.cookies.clear()
    tokens = await market.ok("POST", "/auth/token", json={"email": body["email"], "password": ODD_PASSWORD})
    rotated = await market.ok("POST", "/auth/token/refresh", json={"refresh_token": tokens["refresh_token"]})
    owner = {"Authorization": f"Bearer {rotated['access_token']}"}
    key = await market.ok("POST", "/api-keys", owner, json={"name": "k", "scopes": ["read"]})
    used, unused = [
        (await market.ok("POST", "/enrolment-tokens", owner, json={"region": "eu-west"}))["token"]
        for _ in "ab"
    ]
    joining = {**signed(used), "facts": facts(tag="secret").model_dump(mode="json")}
    await market.ok("POST", "/agent/join", json=joining)
    await market.ok("GET", "/wallet", {"Authorization": f"Bearer {key['key']}"})
    signing = (market.platform.settings.secrets_dir / SIGNING_KEY_FILE).read_text().splitlines()[1]
    return {
        "password": ODD_PASSWORD,
        "another's password": PASSWORD,
        "access token": rotated["access_token"],
        "spent refresh token": tokens["refresh_token"],
        "refresh token": rotated["refresh_token"],
        "API key": key["key"],
        "used enrolment token": used,
        "enrolment token": unused,
        "agent's token": town.people["agent"]["Authorization"].partition(" ")[2],
        "signing key": signing,
        **{f"cookie {name}": value for name, value in cookies.items()},
    }


async def test_no_table_and_no_log_line_holds_a_secret(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    with structlog.testing.capture_logs() as lines, caplog.at_level(logging.DEBUG, logger="gp4u_server"):
        secrets = await open_every_door(town)
        for operation in operations().values():
            if operation.id not in {"stream_job", "sign_out", "end_session", "revoke_api_key"}:
                for who in ("renter", "owner", "agent"):
                    await town.call(operation, who)
    assert len(secrets) >= 12
    assert any("route" in line for line in lines)
    leaks = found_in("the log", "\n".join(map(str, lines)) + caplog.text, secrets)
    stored = await everything_stored(town)
    assert found_in("users", stored["users"], {"address": "secretive@example.org"})  # the dump is no ornament
    for table, rows in stored.items():
        leaks += found_in(table, rows, secrets)
    assert leaks == []


async def test_no_answer_to_a_mistake_repeats_a_secret(town: Town) -> None:
    """Each credential where another thing belongs, and each beside a field that is wrong."""
    secrets = await open_every_door(town)
    leaks = []
    for name, secret in secrets.items():
        for method, path, body, headers in (
            ("POST", "/auth/register", {"email": secret, "password": secret, "surprise": secret}, {}),
            ("POST", "/auth/token", {"email": "a@example.org", "password": secret}, {}),
            ("POST", "/auth/token", {"password": secret}, {}),
            ("POST", "/auth/token/refresh", {"refresh_token": secret[:-1]}, {}),
            ("POST", "/agent/join", {"token": secret}, {}),
            ("POST", "/jobs", {"command": 1, "environment": secret}, {"Authorization": f"Bearer {secret}x"}),
            ("GET", "/wallet", None, {"Authorization": f"Bearer {secret}x"}),
            ("GET", "/wallet", None, {"Authorization": f"Basic {secret}"}),
        ):
            answer = await town.http.request(method, f"/api/v1{path}", json=body, headers=headers)
            assert 400 <= answer.status_code < 500, (method, path, answer.text)
            leaks += found_in(f"the answer to {method} {path}", answer.text, {name: secret})
    assert leaks == []
