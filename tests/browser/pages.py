"""The web app's rooms as page objects: what a visitor can see and do, and nothing about how it is built."""

import re
from dataclasses import dataclass

from playwright.async_api import Locator, Page, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

PAGE_TIMEOUT_MS = 20_000


@dataclass(frozen=True)
class Site:
    """The whole site from one browser tab."""

    page: Page
    base_url: str

    async def open(self, path: str) -> None:
        await self.page.goto(self.base_url + path)
        await expect(self.page.locator("main")).to_be_visible()

    async def slow_down(self, times: float) -> None:
        """Scripts run this many times slower from here on, as on a small machine."""
        session = await self.page.context.new_cdp_session(self.page)
        await session.send("Emulation.setCPUThrottlingRate", {"rate": times})

    async def sign_in_as(self, role: str) -> None:
        """By the demo's own button. Ends on the page behind the sign-in."""
        await self.open("/sign-in")
        await self.page.get_by_role("button", name=f"Sign in as demo {role}").click()
        await expect(self.page.get_by_role("button", name="Your account")).to_be_visible(
            timeout=PAGE_TIMEOUT_MS
        )

    async def sign_in_with(self, email: str, password: str) -> None:
        await self.open("/sign-in")
        form = self.page.get_by_role("form", name="Sign in")
        await form.get_by_label("E-mail").fill(email)
        await form.get_by_label("Password").fill(password)
        await form.get_by_role("button", name="Sign in").click()

    async def sign_out(self) -> None:
        item = self.page.get_by_role("menuitem", name="Sign out")
        for _ in range(3):  # a page that finishes loading meanwhile closes the menu
            if not await item.is_visible():
                await self.page.get_by_role("button", name="Your account").click()
            try:
                await item.click(timeout=5_000)
                break
            except PlaywrightTimeout:
                continue
        await expect(self.page.get_by_role("link", name="Sign in", exact=True)).to_be_visible()


@dataclass(frozen=True)
class SearchRoom:
    """/search."""

    site: Site

    @property
    def line(self) -> Locator:
        return self.site.page.get_by_role("combobox", name="Query line")

    @property
    def offers(self) -> Locator:
        return self.site.page.locator("[data-offer]:visible")

    @property
    def filters(self) -> Locator:
        return self.site.page.get_by_role("complementary", name="Filters")

    async def ask(self, line: str) -> None:
        await self.line.fill(line)
        await self.line.press("Enter")

    async def open_first(self) -> None:
        await self.offers.first.get_by_role("link").click()
        await expect(self.site.page.get_by_role("form", name="Book this offer")).to_be_visible()


@dataclass(frozen=True)
class OfferRoom:
    """/offers/:id."""

    site: Site

    @property
    def form(self) -> Locator:
        return self.site.page.get_by_role("form", name="Book this offer")

    async def book_example(self) -> "JobRoom":
        await self.form.get_by_text("Handwritten digits training").click()
        await self.form.get_by_role("button", name=re.compile("^Book and run")).click()
        return await self._booked()

    async def book_command(
        self, command: str, name: str = "my-job", checkpoint_path: str = "ckpt"
    ) -> "JobRoom":
        await self.form.get_by_text("My own command").click()
        await self.form.get_by_role("textbox", name="Command").fill(command)
        await self.form.get_by_label("Name", exact=True).fill(name)
        if checkpoint_path != "ckpt":
            await self.form.get_by_role("button", name="Checkpoints, budget, environment").click()
            await self.form.get_by_label("Checkpoint folder").fill(checkpoint_path)
        await self.form.get_by_role("button", name=re.compile("^Book and run")).click()
        return await self._booked()

    async def _booked(self) -> "JobRoom":
        await self.site.page.wait_for_url(re.compile(r"/jobs/[^/?]+$"), timeout=PAGE_TIMEOUT_MS)
        return JobRoom(self.site)


@dataclass(frozen=True)
class JobRoom:
    """/jobs/:id."""

    site: Site

    @property
    def job_id(self) -> str:
        return self.site.page.url.split("?")[0].rsplit("/", 1)[1]

    @property
    def log(self) -> Locator:
        return self.site.page.get_by_role("region", name="Job output")

    def event(self, kind: str) -> Locator:
        """Timeline entries of one kind."""
        return self.site.page.locator(f'[data-event="{kind}"]')

    async def expect_state(self, *states: str, timeout_ms: int = PAGE_TIMEOUT_MS) -> None:
        either = ", ".join(f'[data-job-state="{state}"]' for state in states)
        await expect(self.site.page.locator("header").locator(either)).to_be_visible(timeout=timeout_ms)

    async def expect_event(self, kind: str, timeout_ms: int = PAGE_TIMEOUT_MS) -> None:
        await expect(self.event(kind).first).to_be_attached(timeout=timeout_ms)

    async def kill_node(self) -> None:
        """The red button, and its confirmation."""
        await self.site.page.get_by_role("button", name="Kill this node").click()
        dialog = self.site.page.get_by_role("alertdialog")
        await expect(dialog).to_contain_text("kill -9")
        await dialog.get_by_role("button", name="Kill it").click()

    async def cut_link(self) -> None:
        await self.site.page.get_by_role("button", name="Cut its link").click()

    async def heal_link(self) -> None:
        await self.site.page.get_by_role("button", name="Heal the link").click()

    async def stop(self) -> None:
        await self.site.page.get_by_role("button", name="Stop", exact=True).click()
        await self.site.page.get_by_role("button", name="Stop the job").click()

    async def recovery_ms(self, timeout_ms: int = PAGE_TIMEOUT_MS) -> float:
        """The measured recovery that the page shows."""
        shown = self.site.page.locator("[data-recovery-ms]")
        await expect(shown).to_be_visible(timeout=timeout_ms)
        return float(await shown.get_attribute("data-recovery-ms") or "nan")

    async def open_tab(self, name: str) -> None:
        await self.site.page.get_by_role("tab", name=name).click()
