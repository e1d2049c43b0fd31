"""A real Chromium against a whole marketplace. GP4U_CHROMIUM names the browser; without one these tests are skipped.

GP4U_BROWSER_URL points them at a stack that runs already, which makes working on them quick.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.browser.pages import PAGE_TIMEOUT_MS, Site
from tests.stack.marketplace import Marketplace

FAILURES = Path(os.environ.get("GP4U_BROWSER_FAILURES", "/tmp/gp4u-browser-failures"))
# Longer than a loaded machine takes; what is there is found at once all the same.
expect.set_options(timeout=PAGE_TIMEOUT_MS)

CHROMIUM = os.environ.get("GP4U_CHROMIUM") or shutil.which("chromium")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/browser/" in str(item.path) and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium here (GP4U_CHROMIUM)"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.stash[_FAILED] = report.failed


_FAILED = pytest.StashKey[bool]()


@pytest.fixture
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of the stack. Whatever a test did to the fleet is mended afterwards."""
    running = os.environ.get("GP4U_BROWSER_URL")
    if running:
        yield running
        return
    stack: Marketplace = request.getfixturevalue("marketplace")
    with stack.whole_fleet():
        yield stack.url


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for the session."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        await running.close()


@pytest.fixture
async def context(browser: Browser, base_url: str) -> AsyncIterator[BrowserContext]:
    """A fresh visitor: no cookies, no storage."""
    visitor = await browser.new_context(base_url=base_url, viewport={"width": 1280, "height": 900})
    visitor.set_default_timeout(PAGE_TIMEOUT_MS)
    yield visitor
    await visitor.close()


@pytest.fixture
async def page(context: BrowserContext, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """A tab. A script error or a refused script or style on any page fails the test; a failed test leaves a picture."""
    tab = await context.new_page()
    broken: list[str] = []
    tab.on("pageerror", lambda error: broken.append(str(error)))
    tab.on(
        "console", lambda message: broken.append(message.text) if "Content Security" in message.text else None
    )
    yield tab
    if request.node.stash.get(_FAILED, False):
        FAILURES.mkdir(parents=True, exist_ok=True)
        await asyncio.wait_for(tab.screenshot(path=FAILURES / f"{request.node.name}.png", full_page=True), 10)
    assert broken == []


@pytest.fixture
def site(page: Page, base_url: str) -> Site:
    """The site, as that visitor sees it."""
    return Site(page, base_url)
