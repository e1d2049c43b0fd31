"""The SDK's client with an event loop against the real API."""

import httpx2
import pytest
from gp4u import ApiError, AsyncClient
from gp4u_server.api.app import create_app
from gp4u_server.foundation.platform import Platform

from tests.integration.api.conftest import BASE_URL, bearer, tokens_of


async def test_search_wallet_jobs_and_errors(client: httpx2.AsyncClient, platform: Platform) -> None:
    tokens = await tokens_of(client, "ada@example.com")
    made = await client.post(
        "/api/v1/api-keys",
        json={"name": "sdk", "scopes": ["read", "write"]},
        headers=bearer(tokens["access_token"]),
    )
    assert made.status_code == 201, made.text
    transport = httpx2.ASGITransport(app=create_app(platform))
    async with AsyncClient(BASE_URL, made.json()["key"], transport=transport) as gp4u:
        assert await gp4u.search("vram_gb>=24 sort:price") == []
        assert await gp4u.jobs() == []
        assert (await gp4u.wallet())["currency"] == "USD"
        with pytest.raises(ApiError) as refused:
            await gp4u.search("gpu_modle=RTX_4090")
        assert (refused.value.status, refused.value.code) == (422, "unknown_field")
        assert refused.value.document["suggestion"] == "gpu_model"
        with pytest.raises(ApiError) as poor:
            await gp4u.run("true")
        assert (poor.value.status, poor.value.code) == (402, "insufficient_funds")
        await gp4u.api.post("/wallet/top-ups", {"amount_micros": 5_000_000})
        # Nothing is free, so it waits, unbilled; that is the job's first state all the same.
        job = await gp4u.run("true", name="waits")
        assert (await job.timeline())[0]["kind"] == "queued"
        assert [found.id for found in await gp4u.jobs()] == [job.id]
        assert (await job.stop()).has_ended
