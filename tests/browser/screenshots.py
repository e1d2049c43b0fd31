"""Photographs every room at desk and phone width, dark and light: `python tests/browser/screenshots.py URL FOLDER`.

For looking, not for comparing: pixels differ between machines, eyes decide.
"""

import argparse
import asyncio
import os
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.browser.pages import JobRoom, OfferRoom, SearchRoom, Site

CHROMIUM = os.environ.get("GP4U_CHROMIUM", "/usr/bin/chromium")
WIDTHS = {"desk": (1440, 900), "phone": (360, 780)}


async def photograph(browser: Browser, base_url: str, folder: Path, theme: str, name: str) -> None:
    width, height = WIDTHS[name]
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        device_scale_factor=2 if name == "phone" else 1,
    )
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    site = Site(page, base_url)

    async def shoot(room: str) -> None:
        await page.wait_for_timeout(700)
        overflow = await page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        if overflow > 0:
            problems.append(f"{room}: scrolls sideways by {overflow} px")
        await page.screenshot(path=folder / f"{room}-{name}-{theme}.png", full_page=True)

    for room, path in {
        "landing": "/",
        "sign-in": "/sign-in",
        "sign-up": "/sign-up",
        "missing": "/nowhere",
    }.items():
        await site.open(path)
        await shoot(room)
    await site.sign_in_as("renter")
    search = SearchRoom(site)
    await site.open("/search")
    await search.offers.first.wait_for()
    await shoot("search")
    await site.open("/search?q=pirce%3C%3D0.60")
    await page.get_by_role("alert").wait_for()
    await shoot("search-fault")
    await site.open("/search?price_micros_max=1000&region=nowhere")
    await shoot("search-empty")
    await site.open("/search")
    await search.open_first()
    await shoot("offer")
    job: JobRoom = await OfferRoom(site).book_example()
    await job.expect_state("running", timeout_ms=60_000)
    await page.wait_for_timeout(8_000)
    await shoot("job")
    await job.kill_node()
    await job.expect_event("node_suspect", timeout_ms=30_000)
    await shoot("job-suspect")
    await job.expect_event("resumed", timeout_ms=60_000)
    await page.wait_for_timeout(3_000)
    await shoot("job-resumed")
    for tab in ("Checkpoints", "Why this node?", "Receipt", "Specification"):
        await job.open_tab(tab)
        await shoot(f"job-{tab.split()[0].lower()}")
    for room in ("jobs", "wallet", "settings"):
        await site.open(f"/{room}")
        await shoot(room)
    await site.sign_out()
    await site.sign_in_as("owner")
    for room in ("nodes", "earnings"):
        await site.open(f"/{room}")
        await shoot(room)
    await context.close()
    for problem in problems:
        print(f"{name}, {theme}: {problem}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="for example desk-dark")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name in WIDTHS:
            for theme in ("dark", "light"):
                if arguments.only in ("", f"{name}-{theme}"):
                    await photograph(browser, arguments.base_url, arguments.folder, theme, name)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
