"""Every room for everybody: no axe violation in either theme, nothing wider than a phone, keyboard first."""

import pytest
from playwright.async_api import Browser, expect

from tests.browser.accessibility import violations
from tests.browser.pages import Site

pytestmark = pytest.mark.browser

PUBLIC = ("/", "/sign-in", "/sign-up", "/search", "/search?price_micros_max=1", "/nowhere")
RENTER = ("/search", "/jobs", "/wallet", "/settings")
OWNER = ("/nodes", "/earnings")
OPERATOR = ("/fleet",)
ADMIN = ("/admin", "/admin/users", "/admin/users?email=nobody%40example.com", "/admin/nodes")


async def _settled(site: Site, path: str) -> None:
    await site.open(path)
    await expect(site.page.get_by_role("status", name="Loading")).to_have_count(0)
    await expect(site.page.get_by_role("heading", level=1)).to_have_count(1)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
async def test_every_room_is_accessible_and_fits(
    browser: Browser, base_url: str, theme: str, width: int
) -> None:
    found: list[str] = []
    context = await browser.new_context(
        base_url=base_url,
        viewport={"width": width, "height": 800},
        color_scheme="dark" if theme == "dark" else "light",
    )
    site = Site(await context.new_page(), base_url)

    async def visit(paths: tuple[str, ...]) -> None:
        for path in paths:
            await _settled(site, path)
            found.extend(await violations(site.page))
            if await site.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{path} scrolls sideways")

    await visit(PUBLIC)
    await site.sign_in_as("renter")
    await visit(RENTER)
    await site.page.locator("main").focus()
    await site.open("/search")
    await site.page.locator("[data-offer]:visible").first.get_by_role("link").click()
    await expect(site.page.get_by_role("form", name="Book this offer")).to_be_visible()
    found.extend(await violations(site.page))
    await site.sign_out()
    await site.sign_in_as("owner")
    await visit(OWNER)
    await site.sign_out()
    await site.sign_in_as("operator")
    await visit(OPERATOR)
    await site.sign_out()
    await site.sign_in_as("admin")
    await visit(ADMIN)
    await context.close()
    assert found == []


async def test_keyboard_first(site: Site) -> None:
    await site.open("/")
    await site.page.keyboard.press("Tab")
    skip = site.page.get_by_role("link", name="Skip to content")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    await site.page.keyboard.press("Enter")
    await expect(site.page.locator("main")).to_be_focused()


async def test_the_theme_follows_the_choice_and_survives_a_reload(site: Site) -> None:
    await site.open("/")
    await site.page.get_by_role("button", name="Theme: system").click()
    await site.page.get_by_role("menuitemradio", name="Dark").click()
    await expect(site.page.locator("html")).to_have_attribute("data-theme", "dark")
    await site.page.reload()
    await expect(site.page.locator("html")).to_have_attribute("data-theme", "dark")
