"""The main job as a visitor lives it: search, book, watch, kill the node, see the job resume, read the bill."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.accessibility import violations
from tests.browser.pages import JobRoom, OfferRoom, SearchRoom, Site

pytestmark = pytest.mark.browser

START_TIMEOUT_MS = 60_000
RECOVERY_TIMEOUT_MS = 60_000


async def _book_example(site: Site) -> JobRoom:
    await site.sign_in_as("renter")
    await site.open("/search")
    search = SearchRoom(site)
    await search.ask("gpus>=1 simulated=true sort:price")
    await expect(search.offers.first).to_be_visible()
    await search.open_first()
    job = await OfferRoom(site).book_example()
    await job.expect_state("running", timeout_ms=START_TIMEOUT_MS)
    return job


async def test_search_book_watch_kill_resumed(site: Site) -> None:
    job = await _book_example(site)
    await expect(job.log).to_contain_text("fresh start", timeout=START_TIMEOUT_MS)
    await job.expect_event("checkpoint", timeout_ms=START_TIMEOUT_MS)
    await expect(site.page.get_by_role("img", name=re.compile("^Loss over time"))).to_be_visible()
    assert await violations(site.page) == []

    await job.kill_node()
    for kind in ("node_suspect", "node_lost", "failed_over", "resumed"):
        await job.expect_event(kind, timeout_ms=RECOVERY_TIMEOUT_MS)
    assert await job.recovery_ms() > 0
    await expect(job.log).to_contain_text(re.compile(r"resumed at step [1-9]"), timeout=START_TIMEOUT_MS)
    await job.expect_state("running")
    assert await violations(site.page) == []

    await job.open_tab("Why this node?")
    await expect(site.page.get_by_role("heading", name="Placement 2")).to_be_visible()
    await expect(
        site.page.get_by_text(re.compile("left out: the node (is not online|just failed)")).first
    ).to_be_visible()
    assert await violations(site.page) == []
    await job.open_tab("Checkpoints")
    await expect(
        site.page.get_by_role("region", name="Checkpoints").get_by_role("row").nth(1)
    ).to_be_visible()
    assert await violations(site.page) == []

    await job.stop()
    await job.expect_state("stopped", timeout_ms=START_TIMEOUT_MS)
    await job.open_tab("Receipt")
    await expect(site.page.get_by_text("final", exact=True)).to_have_count(2, timeout=START_TIMEOUT_MS)
    await expect(site.page.locator("[data-booking]")).to_have_count(2)
    assert await violations(site.page) == []


async def test_a_cut_link_that_heals_in_time_moves_nothing(site: Site) -> None:
    job = await _book_example(site)
    await job.expect_event("checkpoint", timeout_ms=START_TIMEOUT_MS)
    await job.cut_link()
    await job.expect_event("node_suspect", timeout_ms=RECOVERY_TIMEOUT_MS)
    await job.heal_link()
    await expect(job.event("node_back").or_(job.event("failed_over")).first).to_be_attached(
        timeout=RECOVERY_TIMEOUT_MS
    )
    await job.expect_state("running", timeout_ms=START_TIMEOUT_MS)
    await job.stop()
    await job.expect_state("stopped", timeout_ms=START_TIMEOUT_MS)


async def test_a_failing_command_says_so_and_its_log_can_be_searched(site: Site) -> None:
    await site.sign_in_as("renter")
    await site.open("/search")
    await SearchRoom(site).open_first()
    job = await OfferRoom(site).book_command("echo needle in the hay; exit 3", name="fails")
    await job.expect_state("failed", timeout_ms=START_TIMEOUT_MS)
    await expect(site.page.get_by_text("exit code 3")).to_be_visible()
    await expect(job.log).to_contain_text("needle in the hay", timeout=START_TIMEOUT_MS)
    await site.page.get_by_role("searchbox", name="Search in the log").fill("NEEDLE")
    await expect(site.page.get_by_text("1 of 1")).to_be_visible()
    async with site.page.expect_download() as download:
        await site.page.get_by_role("button", name="Download the whole log").click()
    assert "needle in the hay" in (await (await download.value).path()).read_text()


async def test_a_page_that_was_loaded_again_shows_the_whole_story(site: Site) -> None:
    await site.sign_in_as("renter")
    await site.open("/search")
    await SearchRoom(site).open_first()
    job = await OfferRoom(site).book_command("echo all of it", name="short")
    await job.expect_state("done", timeout_ms=START_TIMEOUT_MS)
    await site.page.reload()
    await job.expect_state("done")
    for kind in ("queued", "matched", "running", "done"):
        await job.expect_event(kind)
    await expect(job.log).to_contain_text("all of it")
