"""Metrics are for programs on this machine and for admins; a client cannot claim to be here."""

from typing import Any

import httpx2
import pytest
from gp4u_server.accounts.authenticator import Authenticator
from gp4u_server.accounts.service import Accounts
from gp4u_server.accounts.types import Role
from gp4u_server.api.app import create_app
from gp4u_server.foundation.platform import Platform
from gp4u_server.gateway.scraping import ScrapersOnly
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tests.integration.api.conftest import BASE_URL, PASSWORD, bearer, client_of

ELSEWHERE = "198.51.100.7"


def gateway_like(platform: Platform) -> ASGIApp:
    """What a gateway puts around its metrics, without its sockets."""

    async def metrics(_: Request) -> Response:
        return PlainTextResponse("gp4u_gateway_beats_total 0\n")

    return ScrapersOnly(Starlette(routes=[Route("/metrics", metrics)]), platform.get(Authenticator))


@pytest.fixture(params=["api", "gateway"])
def served(request: pytest.FixtureRequest, platform: Platform) -> ASGIApp:
    """Each process that has metrics, behind what its server does with a proxy's headers."""
    app: ASGIApp = create_app(platform) if request.param == "api" else gateway_like(platform)
    return ProxyHeadersMiddleware(app, trusted_hosts="127.0.0.1,::1")


async def scrape(app: ASGIApp, peer: str, **headers: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=app, client=(peer, 40000))
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        return await client.get("/metrics", headers=headers)


async def key_of(platform: Platform, email: str, roles: list[Role], scopes: list[str]) -> str:
    await platform.get(Accounts).ensure_account(email=email, password=PASSWORD, name="", roles=roles)
    async with client_of(platform) as client:
        signed_in = await client.post("/api/v1/auth/token", json={"email": email, "password": PASSWORD})
        made = await client.post(
            "/api/v1/api-keys",
            json={"name": "prometheus", "scopes": scopes},
            headers=bearer(signed_in.json()["access_token"]),
        )
        assert made.status_code == 201, made.text
        body: dict[str, Any] = made.json()
        return str(body["key"])


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
async def test_a_program_on_this_machine_reads_metrics(served: ASGIApp, peer: str) -> None:
    answer = await scrape(served, peer)
    assert answer.status_code == 200
    assert "gp4u_" in answer.text


async def test_from_elsewhere_metrics_need_an_admin(served: ASGIApp, platform: Platform) -> None:
    assert (await scrape(served, ELSEWHERE)).status_code == 401
    renter = await key_of(platform, "renter@example.com", [Role.RENTER], ["read"])
    assert (await scrape(served, ELSEWHERE, **bearer(renter))).json()["code"] == "role_required"
    reader = await key_of(platform, "admin@example.com", [Role.ADMIN], ["read"])
    assert (await scrape(served, ELSEWHERE, **bearer(reader))).json()["code"] == "scope_required"
    scraper = await key_of(platform, "admin@example.com", [Role.ADMIN], ["read", "admin"])
    answer = await scrape(served, ELSEWHERE, **bearer(scraper))
    assert answer.status_code == 200
    assert "gp4u_" in answer.text


async def test_the_proxys_word_counts_and_a_strangers_does_not(served: ASGIApp) -> None:
    through_the_proxy = await scrape(served, "127.0.0.1", **{"X-Forwarded-For": ELSEWHERE})
    assert through_the_proxy.status_code == 401
    pretending = await scrape(served, ELSEWHERE, **{"X-Forwarded-For": "127.0.0.1"})
    assert pretending.status_code == 401
    pretending_through_the_proxy = await scrape(
        served, "127.0.0.1", **{"X-Forwarded-For": f"127.0.0.1, {ELSEWHERE}"}
    )
    assert pretending_through_the_proxy.status_code == 401
