"""Every failure is a document with a stable code, and says nothing it should not."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from gp4u_server.api.app import create_app
from gp4u_server.bootstrap import build
from gp4u_server.foundation.platform import Platform
from gp4u_server.foundation.web import Session
from gp4u_server.kit.errors import DomainError, Kind
from gp4u_server.kit.ids import new_id
from gp4u_server.settings import Settings
from pydantic import BaseModel
from sqlalchemy import text

from tests.integration.api.conftest import bearer, client_of, tokens_of

MEMBERS = {"type", "title", "status", "code", "detail", "request_id"}


class OfferTaken(DomainError):
    code = "offer_taken"
    kind = Kind.CONFLICT


class Inner(BaseModel):
    gpus: int


class Spec(BaseModel):
    resources: Inner


@pytest.fixture
async def odd_client(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application with endpoints that fail in every way."""
    app: FastAPI = create_app(platform)
    routes = list(app.router.routes)

    @app.post("/api/v1/odd/taken")
    async def taken() -> None:
        raise OfferTaken("Somebody was faster.", offer_id="off_1")

    @app.post("/api/v1/odd/bug")
    async def bug() -> None:
        raise RuntimeError("secret internals")

    @app.post("/api/v1/odd/spec")
    async def spec(body: Spec) -> None:
        pass

    @app.post("/api/v1/odd/late")
    async def late(session: Session) -> dict[str, str]:
        """The commit fails after the endpoint has answered."""
        await session.execute(text("CREATE TEMP TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        await session.execute(text("INSERT INTO t VALUES (1), (1)"))
        return {"status": "saved"}

    # Before the catch-all of the web app.
    app.router.routes[:] = [*app.router.routes[len(routes) :], *routes]
    async with client_of(platform, app=app) as opened:
        yield opened


def assert_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(document) >= MEMBERS
    assert document["status"] == status
    assert document["type"] == f"urn:gp4u:error:{code}"
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


async def test_a_domain_error_carries_its_code_and_further_members(odd_client: httpx2.AsyncClient) -> None:
    document = assert_problem(await odd_client.post("/api/v1/odd/taken"), 409, "offer_taken")
    assert (document["detail"], document["offer_id"]) == ("Somebody was faster.", "off_1")


async def test_a_bug_tells_its_id_and_nothing_else(odd_client: httpx2.AsyncClient) -> None:
    answer = await odd_client.post("/api/v1/odd/bug")
    assert_problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_failed_commit_is_never_a_success(odd_client: httpx2.AsyncClient) -> None:
    assert_problem(await odd_client.post("/api/v1/odd/late"), 500, "internal_error")


async def test_invalid_input_names_each_field_and_repeats_no_input(odd_client: httpx2.AsyncClient) -> None:
    answer = await odd_client.post("/api/v1/odd/spec", json={"resources": {"gpus": "canary"}})
    document = assert_problem(answer, 422, "validation_failed")
    assert [error["field"] for error in document["errors"]] == ["resources.gpus"]
    assert "canary" not in answer.text
    torn = await odd_client.post(
        "/api/v1/odd/spec", content="{not json", headers={"Content-Type": "application/json"}
    )
    assert_problem(torn, 422, "validation_failed")


async def test_unknown_fields_are_errors(client: httpx2.AsyncClient) -> None:
    body = {"email": "ada@example.com", "password": "correct horse", "is_admin": True}
    document = assert_problem(await client.post("/api/v1/auth/register", json=body), 422, "validation_failed")
    assert [error["field"] for error in document["errors"]] == ["is_admin"]


async def test_what_the_framework_refuses_has_a_document_too(client: httpx2.AsyncClient) -> None:
    assert_problem(await client.get("/api/v1/nothing"), 404, "not_found")
    assert_problem(await client.post("/api/v1/nothing"), 405, "method_not_allowed")
    assert_problem(await client.put("/api/v1/platform"), 405, "method_not_allowed")
    unauthenticated = await client.get("/api/v1/auth/session")
    assert_problem(unauthenticated, 401, "unauthenticated")
    assert unauthenticated.headers["www-authenticate"].startswith("Bearer")


async def test_a_body_over_the_limit_is_refused_announced_or_not(client: httpx2.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65_536

    for content in (b"x" * (1 << 20) + b"y", endless()):
        answer = await client.post(
            "/api/v1/auth/token", content=content, headers={"Content-Type": "application/json"}
        )
        assert_problem(answer, 413, "body_too_large")


async def test_a_request_id_is_kept_when_it_is_harmless(client: httpx2.AsyncClient) -> None:
    kept = await client.get("/health", headers={"X-Request-ID": "abc-1"})
    assert kept.headers["x-request-id"] == "abc-1"
    made = await client.get("/health", headers={"X-Request-ID": "a" * 65})
    assert made.headers["x-request-id"].startswith("req_")


async def test_private_answers_are_not_stored_and_every_answer_is_guarded(client: httpx2.AsyncClient) -> None:
    token = (await tokens_of(client, "ada@example.com"))["access_token"]
    for path in ("/api/v1/auth/session", "/api/v1/nothing", "/health", "/", "/docs"):
        answer = await client.get(path, headers=bearer(token))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        if path.startswith("/api"):
            assert answer.headers["cache-control"] == "no-store"


async def test_metrics_count_by_template_and_not_by_path(client: httpx2.AsyncClient) -> None:
    token = (await tokens_of(client, "ada@example.com"))["access_token"]
    key_id = new_id("key")
    await client.delete(f"/api/v1/api-keys/{key_id}", headers=bearer(token))
    text_of_metrics = (await client.get("/metrics")).text
    counted = 'gp4u_http_requests_total{method="DELETE",route="/api/v1/api-keys/{key_id}",status="404"} 1.0'
    assert counted in text_of_metrics
    assert key_id not in text_of_metrics


async def test_postgresql_away_is_a_503_that_says_when_to_come_back(settings: Settings) -> None:
    nowhere = "postgresql://gp4u@127.0.0.1:1/gp4u"
    platform = build(settings.model_copy(update={"database_url": nowhere}))
    async with client_of(platform) as client:
        answer = await client.post("/api/v1/auth/token", json={"email": "ada@example.com", "password": "x"})
        assert_problem(answer, 503, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        readiness = await client.get("/readiness")
        assert readiness.status_code == 503
        assert readiness.json()["parts"] == {
            "postgresql": "unreachable (OperationalError)",
            "valkey": "ok",
            "object_store": "ok",
        }
        assert (await client.get("/health")).status_code == 200
    await platform.close()
