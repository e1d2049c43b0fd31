"""/docs and /redoc in a real browser, without any network but this server's own."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator

import pytest
import uvicorn
from gp4u_server.api.app import create_app
from playwright.async_api import Request, async_playwright

CHROMIUM = os.environ.get("GP4U_CHROMIUM") or shutil.which("chromium")
PATIENCE_MS = 60_000


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """An application that can only describe itself: that needs no database."""
    server = uvicorn.Server(uvicorn.Config(create_app(), host="127.0.0.1", port=0, log_config=None))
    running = asyncio.create_task(server.serve())
    while not server.started:
        assert not running.done()
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await running


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (GP4U_CHROMIUM)")
@pytest.mark.parametrize(
    ("page_path", "an_operation"),
    [("/docs", "#operations-market-search_offers"), ("/redoc", "[id='operation/search_offers']")],
    ids=["swagger_ui", "redoc"],
)
async def test_a_reference_page_shows_operations_and_asks_for_nothing_from_elsewhere(
    address: str, page_path: str, an_operation: str
) -> None:
    failed: list[str] = []
    foreign: list[str] = []
    complaints: list[str] = []

    def seen(request: Request) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            foreign.append(request.url)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = await browser.new_page()
            page.on("request", seen)
            page.on("requestfailed", lambda request: failed.append(f"{request.url} {request.failure}"))
            page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on(
                "console",
                lambda message: complaints.append(message.text) if message.type == "error" else None,
            )
            await page.goto(f"{address}{page_path}")
            await page.wait_for_selector(an_operation, timeout=PATIENCE_MS, state="attached")
            await page.wait_for_load_state("networkidle")
        finally:
            await browser.close()
    assert (failed, foreign, complaints) == ([], [], [])
