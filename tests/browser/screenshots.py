"""Photographs every room at three widths, dark and light, empty and full, as everybody:
`python tests/browser/screenshots.py URL FOLDER [--only phone-dark] [--rooms]`.

For looking, not for comparing: pixels differ between machines, eyes decide.
"""

import argparse
import asyncio
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.pages import JobRoom, OfferRoom, SearchRoom, Site

CHROMIUM = os.environ.get("GP4U_CHROMIUM", "/usr/bin/chromium")
WIDTHS = {"desk": (1440, 900), "tablet": (768, 1024), "phone": (360, 780)}
SETTLE_MS = 500
# Asked for on purpose: nobody signed in, a mistyped query line, a missing offer.
EXPECTED = re.compile(r"status of (401|404|422)")


@dataclass
class Camera:
    """One visitor with one screen."""

    page: Page
    site: Site
    folder: Path
    suffix: str
    problems: list[str] = field(default_factory=list)

    async def shoot(self, room: str) -> None:
        """The whole page as it stands; says so when it is wider than the screen."""
        await expect(self.page.get_by_role("status", name="Loading")).to_have_count(0)
        await self.page.wait_for_timeout(SETTLE_MS)
        overflow = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        if overflow > 0:
            self.problems.append(f"{room}: scrolls sideways by {overflow} px")
        await self.page.screenshot(path=self.folder / f"{room}-{self.suffix}.png", full_page=True)

    async def visit(self, rooms: dict[str, str]) -> None:
        """One picture of each address."""
        for room, path in rooms.items():
            await self.site.open(path)
            await self.shoot(room)

    async def sign_up(self, use: str) -> None:
        """A fresh account, whose rooms are empty."""
        await self.site.open("/sign-up")
        form = self.page.get_by_role("form", name="Create an account")
        await form.get_by_text(use, exact=True).click()
        await form.get_by_label("E-mail").fill(
            f"{uuid4().hex[:8]}.a-rather-long-name.of-somebody@example.com"
        )
        await form.get_by_label("Password").fill("a long enough pass phrase")
        await form.get_by_role("button", name="Create account").click()
        await expect(self.page.get_by_role("button", name="Your account")).to_be_visible()


async def rooms(camera: Camera) -> None:
    """Every room as everybody, the empty ones first."""
    site, page = camera.site, camera.page
    await camera.visit({"landing": "/", "sign-in": "/sign-in", "sign-up": "/sign-up", "missing": "/nowhere"})
    await camera.visit(
        {"search-fault": "/search?q=pirce%3C%3D0.60", "search-empty": "/search?price_micros_max=1000"}
    )
    await camera.sign_up("Both")
    await camera.visit(
        {f"{room}-empty": f"/{room}" for room in ("jobs", "wallet", "settings", "nodes", "earnings")}
    )
    await camera.visit({"forbidden": "/admin"})
    await site.sign_out()
    for role, addresses in {
        "renter": ("search", "jobs", "wallet", "settings"),
        "owner": ("nodes", "earnings"),
        "operator": ("fleet", "nodes", "earnings"),
        "admin": ("admin", "admin/users", "admin/nodes", "admin/users?email=nobody%40example.com"),
    }.items():
        await site.sign_in_as(role)
        await camera.visit({f"{role}-{re.sub(r'[^a-z]+', '-', room)[:20]}": f"/{room}" for room in addresses})
        if role == "renter":
            await site.open("/search")
            await SearchRoom(site).open_first()
            await camera.shoot("offer")
            await page.get_by_text("My own command").click()
            await page.get_by_role("button", name="Checkpoints, budget, environment").click()
            await camera.shoot("offer-own")
            await page.get_by_role("button", name=re.compile("^Book and run")).scroll_into_view_if_needed()
        if role == "admin" and camera.suffix.startswith("phone"):
            await page.get_by_role("button", name="Open the menu").click()
            await camera.shoot("menu")
            await page.keyboard.press("Escape")
        await site.sign_out()


async def story(camera: Camera) -> None:
    """A job that loses its node, and its page at every turn."""
    site, page = camera.site, camera.page
    await site.sign_in_as("renter")
    await site.open("/search?q=gpus%3E%3D1+sort%3Aprice")
    await SearchRoom(site).open_first()
    job: JobRoom = await OfferRoom(site).book_example()
    await job.expect_state("running", timeout_ms=60_000)
    await job.expect_event("checkpoint", timeout_ms=60_000)
    await camera.shoot("job")
    await job.kill_node()
    await job.expect_event("node_suspect", timeout_ms=30_000)
    await camera.shoot("job-suspect")
    await job.expect_event("resumed", timeout_ms=60_000)
    await page.wait_for_timeout(3_000)
    await camera.shoot("job-resumed")
    for tab in ("Checkpoints", "Why this node?", "Receipt", "Specification"):
        await job.open_tab(tab)
        await camera.shoot(f"job-{tab.split()[0].lower()}")
    await job.stop()
    await job.expect_state("stopped", timeout_ms=60_000)
    await camera.shoot("job-stopped")
    await site.sign_out()


async def photograph(
    browser: Browser, base_url: str, folder: Path, name: str, theme: str, with_story: bool
) -> None:
    """All rooms on one screen in one theme."""
    width, height = WIDTHS[name]
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        device_scale_factor=2 if name == "phone" else 1,
    )
    page = await context.new_page()
    camera = Camera(page, Site(page, base_url), folder, f"{name}-{theme}")
    page.on("pageerror", lambda error: camera.problems.append(str(error)))
    page.on(
        "console",
        lambda message: (
            camera.problems.append(message.text)
            if message.type == "error" and not EXPECTED.search(message.text)
            else None
        ),
    )
    await rooms(camera)
    if with_story:
        await story(camera)
    await context.close()
    for problem in camera.problems:
        print(f"{name}, {theme}: {problem}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="for example desk-dark")
    parser.add_argument("--rooms", action="store_true", help="without the story of a job")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name in WIDTHS:
            for theme in ("dark", "light"):
                if arguments.only in ("", f"{name}-{theme}"):
                    await photograph(
                        browser, arguments.base_url, arguments.folder, name, theme, not arguments.rooms
                    )
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
