"""The web app: its files, its page for every address, and nothing outside of its folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from gp4u_server.api.app import create_app
from gp4u_server.foundation.platform import Platform

from tests.integration.api.conftest import client_of


@pytest.fixture
async def built(platform: Platform, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application with a built web app."""
    folder = tmp_path / "web_dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>GP4U</title><script>theme()</script>")
    (folder / "assets" / "index-a1b2c3.js").write_text("start()")
    (folder / "favicon.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("secret")
    async with client_of(platform, app=create_app(platform, web_dist=folder)) as opened:
        yield opened


async def test_every_other_address_is_the_page(built: httpx2.AsyncClient) -> None:
    for path in ("/", "/jobs/job_1", "/search?q=vram_gb>=24", "/index.html"):
        answer = await built.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["cache-control"] == "no-cache"
        assert "script-src 'self' 'sha256-" in answer.headers["content-security-policy"]


async def test_hashed_assets_are_cached_for_ever_and_other_files_are_not(built: httpx2.AsyncClient) -> None:
    asset = await built.get("/assets/index-a1b2c3.js")
    assert (asset.text, asset.headers["cache-control"]) == ("start()", "public, max-age=31536000, immutable")
    icon = await built.get("/favicon.svg")
    assert (icon.text, icon.headers["cache-control"]) == ("<svg/>", "no-cache")
    assert (await built.get("/assets/gone.js")).status_code == 404


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt", "/%00"]
)
async def test_nothing_outside_the_folder_is_served(built: httpx2.AsyncClient, path: str) -> None:
    assert "secret" not in (await built.get(path)).text


async def test_the_api_has_no_page(built: httpx2.AsyncClient) -> None:
    for path in ("/api/v1/nothing", "/agent/v1/nothing"):
        assert (await built.get(path)).headers["content-type"] == "application/problem+json"


async def test_without_a_build_a_page_says_what_to_do(platform: Platform, tmp_path: Path) -> None:
    async with client_of(platform, app=create_app(platform, web_dist=tmp_path / "none")) as client:
        answer = await client.get("/")
    assert answer.status_code == 200
    assert "make web" in answer.text
