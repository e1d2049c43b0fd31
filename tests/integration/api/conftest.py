"""A real platform on real servers, behind the real application, spoken to through ASGI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from gp4u_server.accounts.tokens import write_signing_key
from gp4u_server.api.app import create_app
from gp4u_server.bootstrap import build
from gp4u_server.foundation.platform import Platform
from gp4u_server.settings import Settings

BASE_URL = "http://127.0.0.1:8000"
PASSWORD = "correct horse battery"


@pytest.fixture
def settings(database_url: str, valkey_url: str, tmp_path: Path) -> Settings:
    """Settings of a platform of this test's own."""
    secrets_dir = tmp_path / "secrets"
    write_signing_key(secrets_dir)
    (secrets_dir / "master.key").write_bytes(b"k" * 32)
    store = tmp_path / "objects"
    store.mkdir()
    values: dict[str, Any] = {
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey_url,
        "secrets_dir": secrets_dir,
        "object_store_dir": store,
        "public_url": BASE_URL,
    }
    return Settings(**values)


@pytest.fixture
async def platform(settings: Settings) -> AsyncIterator[Platform]:
    """The wired platform."""
    built = build(settings, process="test")
    yield built
    await built.close()


@asynccontextmanager
async def client_of(platform: Platform, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application on `platform`. Cookies are kept; redirects are not followed."""
    application = options.pop("app", None) or create_app(platform)
    transport = httpx2.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL, **options) as client:
        yield client


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without credentials."""
    async with client_of(platform) as opened:
        yield opened


async def tokens_of(client: httpx2.AsyncClient, email: str, *roles: str) -> dict[str, Any]:
    """Register `email` and answer a program's tokens for it."""
    body = {
        "email": email,
        "password": PASSWORD,
        "name": email.split("@")[0],
        "roles": list(roles or ["renter"]),
    }
    registered = await client.post("/api/v1/auth/register", json=body)
    assert registered.status_code == 201, registered.text
    client.cookies.clear()
    answer = await client.post("/api/v1/auth/token", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return answer.json()


def bearer(token: str) -> dict[str, str]:
    """The header that carries `token`."""
    return {"Authorization": f"Bearer {token}"}
