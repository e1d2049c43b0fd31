"""Each room by itself: what a visitor does there, and what it says when something is wrong."""

import re
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import BrowserContext, expect

from tests.browser.accessibility import violations
from tests.browser.pages import JobRoom, OfferRoom, SearchRoom, Site

pytestmark = pytest.mark.browser


async def _sign_up(site: Site, use: str = "Rent GPUs") -> str:
    email = f"visitor-{uuid4().hex[:12]}@example.com"
    await site.open("/sign-up")
    form = site.page.get_by_role("form", name="Create an account")
    await form.get_by_text(use, exact=True).click()
    await form.get_by_label("E-mail").fill(email)
    await form.get_by_label("Password").fill("a long enough pass phrase")
    await form.get_by_role("button", name="Create account").click()
    await expect(site.page.get_by_role("button", name="Your account")).to_be_visible()
    return email


async def test_search_lives_in_the_address(site: Site) -> None:
    await site.open("/search")
    search = SearchRoom(site)
    await expect(search.offers.first).to_be_visible()
    await site.slow_down(6)
    others = search.offers.filter(has_not_text="RTX 3090")
    await expect(others.first).to_be_visible()
    await search.filters.get_by_label("RTX 3090").check()
    await expect(site.page).to_have_url(re.compile("gpu_model=RTX_3090"))
    await expect(others).to_have_count(0)
    await site.slow_down(1)
    await site.page.reload()
    await expect(search.filters.get_by_label("RTX 3090")).to_be_checked()
    await site.page.go_back()
    await expect(site.page).not_to_have_url(re.compile("gpu_model"))
    await expect(search.filters.get_by_label("RTX 3090")).not_to_be_checked()
    await expect(others.first).to_be_visible()


async def test_controls_answer_at_once_and_quick_clicks_lose_none(site: Site) -> None:
    """Clicks in one turn of the event loop: no navigation can be done between two of them."""
    await site.open("/search")
    search = SearchRoom(site)
    models = search.filters.get_by_role("group", name="GPU model").get_by_role("checkbox")
    await expect(models.nth(2)).to_be_visible()
    await site.slow_down(6)
    shown: list[bool] = await search.filters.evaluate(
        """async (filters) => {
          const boxes = [...filters.querySelectorAll("fieldset:first-child input[type=checkbox]")].slice(0, 3);
          const turn = () => new Promise((resolve) => queueMicrotask(resolve));
          for (const box of [...boxes, boxes[1]]) { box.click(); await turn(); }
          return boxes.map((box) => box.checked);
        }"""
    )
    assert shown == [True, False, True]
    await site.page.get_by_role("combobox", name="Sort").select_option("-reliability")
    await search.filters.get_by_text("24 GB", exact=True).click()
    await expect(site.page).to_have_url(re.compile("vram_gb_min=24.*sort=-reliability"))
    assert site.page.url.count("gpu_model=") == 2
    await expect(search.filters.get_by_role("checkbox", checked=True)).to_have_count(2)
    await expect(site.page.get_by_role("combobox", name="Sort")).to_have_value("-reliability")


async def test_a_mistyped_field_offers_the_right_one(site: Site) -> None:
    await site.open("/search")
    search = SearchRoom(site)
    await search.ask("pirce<=1000")
    await expect(site.page.get_by_role("alert")).to_contain_text("pirce")
    await site.page.get_by_role("button", name="Use price").click()
    await expect(search.line).to_have_value("price<=1000")
    await expect(search.offers.first).to_be_visible()


async def test_the_query_line_completes_by_keyboard(site: Site) -> None:
    await site.open("/search")
    search = SearchRoom(site)
    await search.line.press_sequentially("gpu_m")
    await expect(site.page.get_by_role("option", name=re.compile("gpu_model="))).to_be_visible()
    await search.line.press("ArrowDown")
    await search.line.press("Enter")
    await expect(search.line).to_have_value("gpu_model=")
    await search.line.press_sequentially("3090")
    await search.line.press("ArrowDown")
    await search.line.press("Enter")
    await expect(search.line).to_have_value(re.compile("^gpu_model=RTX_3090"))
    await expect(site.page).to_have_url(re.compile("q=gpu_model"))


async def test_an_empty_search_can_be_loosened(site: Site) -> None:
    await site.open("/search?price_micros_max=1")
    await expect(site.page.get_by_text("Nothing free fits this search")).to_be_visible()
    await site.page.get_by_role("button", name="Any price").click()
    await expect(SearchRoom(site).offers.first).to_be_visible()


async def test_sign_up_top_up_and_an_empty_wallet(site: Site) -> None:
    await _sign_up(site)
    await SearchRoom(site).open_first()
    await expect(OfferRoom(site).form.get_by_text("Your wallet is empty.")).to_be_visible()
    await OfferRoom(site).form.get_by_role("button", name=re.compile("^Book and run")).click()
    await expect(OfferRoom(site).form.get_by_role("alert")).to_be_visible()
    await site.open("/wallet")
    await site.page.get_by_role("button", name="Add money").click()
    dialog = site.page.get_by_role("dialog")
    await expect(dialog).to_contain_text("no real money moves")
    await dialog.get_by_label("Amount").fill("0.5")
    await dialog.get_by_role("button", name=re.compile("^Add")).click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Between")
    await dialog.get_by_label("Amount").fill("12.50")
    await dialog.get_by_role("button", name="Add $12.50").click()
    await expect(dialog).to_be_hidden()
    await expect(site.page.get_by_text("+$12.50")).to_be_visible()


async def test_wrong_credentials_are_told_in_place(site: Site) -> None:
    await site.sign_in_with("renter@gp4u.demo", "not the password")
    await expect(site.page.get_by_role("alert")).to_be_visible()
    await expect(site.page).to_have_url(re.compile("/sign-in"))


async def test_a_guarded_room_leads_back_after_signing_in(site: Site) -> None:
    await site.open("/wallet")
    await expect(site.page).to_have_url(re.compile(r"/sign-in\?next=%2Fwallet"))
    await site.page.get_by_role("button", name="Sign in as demo renter").click()
    await expect(site.page).to_have_url(re.compile("/wallet$"))
    await site.open("/nodes")
    await expect(site.page.get_by_text("does not hold that role")).to_be_visible()


async def test_a_session_never_reaches_scripts_and_ends_with_signing_out(site: Site) -> None:
    await site.sign_in_as("renter")
    stored = await site.page.evaluate(
        "document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"
    )
    cookies = await site.page.context.cookies()
    assert cookies
    assert all(cookie["httpOnly"] for cookie in cookies)
    assert not any(cookie["value"] in stored for cookie in cookies)
    await site.sign_out()
    await site.open("/jobs")
    await expect(site.page).to_have_url(re.compile("/sign-in"))


async def test_an_expired_access_token_is_renewed_unseen(site: Site) -> None:
    await site.sign_in_as("renter")
    access = [cookie for cookie in await site.page.context.cookies() if "access" in cookie["name"]]
    assert access
    for cookie in access:
        await site.page.context.clear_cookies(name=cookie["name"])
    await site.open("/wallet")
    await expect(site.page.get_by_text("Movements")).to_be_visible()
    await site.page.get_by_role("button", name="Add money").click()
    await site.page.get_by_role("dialog").get_by_role("button", name=re.compile("^Add ")).click()
    await expect(site.page.get_by_role("dialog")).to_be_hidden()


async def test_an_api_key_is_shown_once_and_can_be_revoked(site: Site) -> None:
    await _sign_up(site)
    await site.open("/settings")
    await site.page.get_by_role("button", name="New key").click()
    dialog = site.page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("nightly")
    await dialog.get_by_role("button", name="Make the key").click()
    key = await dialog.locator("code").inner_text()
    assert key.startswith("gp4u_")
    await dialog.get_by_role("button", name="Done").click()
    await expect(site.page.get_by_text("nightly")).to_be_visible()
    assert key not in await site.page.content()
    await site.page.get_by_role("button", name="Revoke", exact=True).click()
    await site.page.get_by_role("button", name="Revoke the key").click()
    await expect(site.page.get_by_text("No keys")).to_be_visible()


async def test_an_owner_changes_a_price_where_it_stands(site: Site) -> None:
    await site.sign_in_as("owner")
    await site.open("/nodes")
    card = site.page.locator("[data-node]").first
    name = await card.get_attribute("data-node")
    await card.get_by_role("button", name=f"Change the price of {name}").click()
    field = card.get_by_role("textbox", name=f"Price of {name}")
    before = await field.input_value()
    await field.fill("nonsense")
    await field.press("Enter")
    await expect(card.get_by_role("alert")).to_be_visible()
    await field.fill("0.437")
    await field.press("Enter")
    await expect(card).to_contain_text("$0.437")
    await card.get_by_role("button", name=f"Change the price of {name}").click()
    await field.fill(before)
    await field.press("Enter")
    await expect(field).to_be_hidden()


async def test_adding_a_node_shows_its_command_once(site: Site) -> None:
    await _sign_up(site, use="Earn with mine")
    await site.open("/nodes")
    await expect(site.page.get_by_text("No machine yet")).to_be_visible()
    await site.page.get_by_role("button", name="Add a node").first.click()
    dialog = site.page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Make the command").click()
    await expect(dialog.locator("code")).to_contain_text("gp4u agent join")


async def test_unknown_addresses_say_so(site: Site) -> None:
    for path in ("/nowhere", "/offers/offer_unknown"):
        await site.open(path)
        await expect(site.page.get_by_text("There is no page here")).to_be_visible()


async def test_going_offline_is_said_and_forgotten(site: Site) -> None:
    await site.open("/search")
    await site.page.context.set_offline(True)
    await expect(site.page.get_by_text("You are offline.")).to_be_visible()
    await site.page.context.set_offline(False)
    await expect(site.page.get_by_text("You are offline.")).to_be_hidden()


async def test_an_operator_sees_his_fleet_at_a_glance(site: Site) -> None:
    await site.sign_in_as("operator")
    await (
        site.page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name="Fleet").click()
    )
    await expect(site.page.get_by_role("region", name="Nodes")).to_contain_text(re.compile(r"online\s*2"))
    await expect(site.page.get_by_text("your share: 85 %")).to_be_visible()
    machine = site.page.get_by_role("table").get_by_role("row").filter(has_text="mesa-1")
    await expect(machine).to_contain_text("Online")
    await expect(machine).to_contain_text(re.compile(r"lost \d+ times?"))
    await _sign_up_as_stranger_to(site, "/fleet", "This room is for operators")


async def test_an_admin_sees_the_market_and_verifies_the_books(site: Site) -> None:
    await site.sign_in_as("admin")
    await (
        site.page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name="Admin").click()
    )
    await expect(site.page.get_by_role("region", name="Nodes")).to_contain_text("online")
    await expect(site.page.get_by_text("PostgreSQL")).to_be_visible()
    await expect(site.page.get_by_text("renewed")).to_be_visible()
    await site.page.get_by_role("button", name="Verify now").click()
    await expect(site.page.locator('[data-books="sound"]')).to_contain_text("Everything adds up")
    await site.page.reload()
    await expect(site.page.locator('[data-books="sound"]')).to_be_visible()

    rooms = site.page.get_by_role("navigation", name="Admin")
    await rooms.get_by_role("link", name="Users").click()
    await expect(site.page.locator("[data-person]").first).to_be_visible()
    await site.page.get_by_role("searchbox", name="E-mail, in full").fill("Owner@gp4u.demo")
    await site.page.get_by_role("button", name="Find").click()
    await expect(site.page.locator("[data-person]")).to_have_count(1)
    await expect(site.page.locator("[data-person]")).to_contain_text("owner")
    await site.page.get_by_role("searchbox").fill("nobody@example.com")
    await site.page.get_by_role("button", name="Find").click()
    await expect(site.page.get_by_text("Nobody has this address")).to_be_visible()
    await rooms.get_by_role("link", name="Nodes").click()
    await expect(site.page.get_by_role("table").get_by_text("lotus-1")).to_be_visible()
    await _sign_up_as_stranger_to(site, "/admin/nodes", "This room is for admins")


async def _sign_up_as_stranger_to(site: Site, path: str, says: str) -> None:
    await site.sign_out()
    await _sign_up(site)
    await site.open(path)
    await expect(site.page.get_by_text(says)).to_be_visible()


async def test_an_admins_room_says_what_failed_and_tries_again(site: Site) -> None:
    await site.sign_in_as("admin")
    problem = {"code": "temporarily_unavailable", "title": "", "detail": "Try again soon.", "status": 503}
    await site.page.route(
        "**/api/v1/admin/users*",
        lambda route: route.fulfill(status=503, json=problem, content_type="application/problem+json"),
    )
    await site.open("/admin/users")
    await expect(site.page.get_by_role("alert")).to_contain_text("temporarily_unavailable")
    await site.page.unroute("**/api/v1/admin/users*")
    await site.page.get_by_role("button", name="Try again").click()
    await expect(site.page.locator("[data-person]").first).to_be_visible()


async def test_a_session_elsewhere_can_be_signed_out(site: Site, context: BrowserContext) -> None:
    browser = context.browser
    assert browser is not None
    email = await _sign_up(site)
    elsewhere = await browser.new_context(
        base_url=site.base_url,
        user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    )
    other = Site(await elsewhere.new_page(), site.base_url)
    await other.sign_in_with(email, "a long enough pass phrase")
    await expect(other.page.get_by_role("button", name="Your account")).to_be_visible()

    await site.open("/settings")
    sessions = site.page.get_by_role("list", name="Sessions").get_by_role("listitem")
    await expect(sessions).to_have_count(2)
    await expect(sessions.filter(has_text="this one").get_by_role("button")).to_have_count(0)
    await site.page.get_by_role("button", name="Sign out Firefox on Linux").click()
    await site.page.get_by_role("button", name="Sign it out").click()
    await expect(sessions).to_have_count(1)
    await other.open("/wallet")
    await expect(other.page).to_have_url(re.compile("/sign-in"))
    await elsewhere.close()


async def test_a_folder_travels_with_the_job_and_its_job_file_fills_the_form(
    site: Site, tmp_path: Path
) -> None:
    folder = tmp_path / "my-project"
    (folder / "data").mkdir(parents=True)
    (folder / "job.yaml").write_text(
        "name: from-a-file\ncommand: python main.py\nfiles: .\nenv: {GREETING: hello}\n"
        "resources: {memory_gb: 1}\nmax_duration: 10m\n"
    )
    (folder / "main.py").write_text(
        "import os, pathlib\n"
        "print(os.environ['GREETING'], pathlib.Path('data/ünïcode.txt').read_text(),"
        " sorted(p.name for p in pathlib.Path('.').iterdir() if p.suffix == '.log'))\n"
    )
    (folder / "data" / "ünïcode.txt").write_text("from the folder")
    (folder / "left-out.log").write_text("x" * 1000)
    (folder / ".gp4uignore").write_text("*.log\n")

    await site.sign_in_as("renter")
    await site.open("/search")
    await SearchRoom(site).open_first()
    form = OfferRoom(site).form
    await form.get_by_text("My own command").click()
    await form.get_by_label("Choose a folder").set_input_files(folder)
    sent = form.locator("[data-folder]")
    await expect(sent).to_contain_text("my-project")
    await expect(sent).to_contain_text("3 files")
    await expect(sent).to_contain_text("2 left out")
    await sent.get_by_role("button", name="Use its job.yaml").click()
    await expect(form.get_by_role("textbox", name="Command")).to_have_value("python main.py")
    await expect(form.get_by_label("Name", exact=True)).to_have_value("from-a-file")
    await expect(form.get_by_role("list", name="Also from the job file")).to_contain_text("memory_gb: 1")
    assert await violations(site.page) == []
    await form.get_by_role("button", name=re.compile("^Book and run")).click()
    await site.page.wait_for_url(re.compile(r"/jobs/[^/?]+$"))
    job = JobRoom(site)
    await job.expect_state("done", timeout_ms=60_000)
    await expect(job.log).to_contain_text("hello from the folder []")


async def test_a_wrong_job_file_and_a_hopeless_folder_say_why(site: Site, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".gp4uignore").write_text("*\n")
    await site.open("/search")
    await SearchRoom(site).open_first()
    form = OfferRoom(site).form
    await form.get_by_text("My own command").click()
    await form.get_by_label("Choose a folder").set_input_files(tmp_path / "empty")
    await expect(form.get_by_role("alert")).to_contain_text("left out by the ignore rules")
    await form.get_by_role("button", name="From a job.yaml").click()
    dialog = site.page.get_by_role("dialog")
    await dialog.get_by_label("Job file").fill("comand: x\nresources: {gpus: 99}")
    await dialog.get_by_role("button", name="Fill the form").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Did you mean command?")
    await dialog.get_by_label("Job file").fill("command: x\nresources: {gpus: 99}")
    await dialog.get_by_role("button", name="Fill the form").click()
    await expect(dialog).to_be_hidden()
    await expect(form.get_by_role("alert").filter(has_text="free here")).to_be_visible()
    await expect(form.get_by_role("textbox", name="Command")).to_have_value("x")
