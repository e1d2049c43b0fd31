"""A stream goes no further than the session or key that opened it."""

import asyncio
from typing import Any

import httpx2
import pytest
from gp4u_server.billing.top_ups import TopUpService
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.db import Database
from sqlalchemy import text

from tests.integration.api.conftest import bearer, tokens_of

PATIENCE_S = 30.0


async def _waiting_job(client: httpx2.AsyncClient, platform: Platform, token: dict[str, Any]) -> str:
    me = (await client.get("/api/v1/auth/session", headers=bearer(token["access_token"]))).json()
    await platform.get(TopUpService).top_up(me["user"]["id"], 50_000_000, None)
    answer = await client.post(
        "/api/v1/jobs", json={"command": "true"}, headers=bearer(token["access_token"])
    )
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["id"]
    return job_id


@pytest.mark.parametrize("by", ["session", "key"])
async def test_a_stream_ends_when_what_opened_it_is_revoked(
    client: httpx2.AsyncClient, platform: Platform, by: str
) -> None:
    token = await tokens_of(client, "ada@example.com")
    job_id = await _waiting_job(client, platform, token)
    credential = token["access_token"]
    if by == "key":
        made = await client.post(
            "/api/v1/api-keys",
            json={"name": "reader", "scopes": ["read"]},
            headers=bearer(token["access_token"]),
        )
        assert made.status_code == 201, made.text
        credential = made.json()["key"]
    # The test's transport answers a stream when it has ended; this one would go on for as long as the job waits.
    stream = asyncio.create_task(client.get(f"/api/v1/jobs/{job_id}/stream", headers=bearer(credential)))
    done, _ = await asyncio.wait({stream}, timeout=4.0)
    assert not done
    async with platform.get(Database).transaction() as session:
        table = "sessions" if by == "session" else "api_keys"
        await session.execute(text(f"UPDATE {table} SET revoked_at = now()"))
    answer = await asyncio.wait_for(stream, PATIENCE_S)
    assert answer.status_code == 200
    assert "event: job" in answer.text
    assert "event: end" not in answer.text
