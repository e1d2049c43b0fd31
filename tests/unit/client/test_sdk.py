"""Both SDK clients against the same server, held to the same promises."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gp4u import ApiError, AsyncClient, AsyncJob, Client, Job
from gp4u.config import Credentials
from gp4u.following import Update
from gp4u.packing import pack
from gp4u.submission import send
from gp4u.wire import EventLines

from tests.unit.client.sdk_server import EVENTS, LOG, OFFERS, TIMELINE, Marketplace, serving


class AwaitedJob:
    """A Job, awaited like an AsyncJob: every call runs in a thread."""

    def __init__(self, job: Job) -> None:
        self.plain = job

    def __getattr__(self, name: str) -> Any:
        return _awaited(getattr(self.plain, name))

    async def updates(self) -> AsyncIterator[Update]:
        for update in await asyncio.to_thread(lambda: list(self.plain.updates())):
            yield update


class AwaitedClient:
    """A Client, awaited like an AsyncClient."""

    def __init__(self, client: Client) -> None:
        self.plain = client

    def __getattr__(self, name: str) -> Any:
        return _awaited(getattr(self.plain, name))


def _awaited(member: Any) -> Any:
    if not callable(member):
        return member

    async def call(*arguments: Any, **options: Any) -> Any:
        found = await asyncio.to_thread(member, *arguments, **options)
        return AwaitedJob(found) if isinstance(found, Job) else found

    return call


@pytest.fixture
def marketplace() -> Iterator[Marketplace]:
    with serving(Marketplace()) as running:
        yield running


@asynccontextmanager
async def opened(kind: str, url: str) -> AsyncIterator[Any]:
    if kind == "async":
        async with AsyncClient(url, "key") as client:
            yield client
        return
    with Client(url, "key") as plain:
        yield AwaitedClient(plain)


@pytest.fixture(params=["sync", "async"])
async def gp4u(request: pytest.FixtureRequest, marketplace: Marketplace) -> AsyncIterator[Any]:
    async with opened(request.param, marketplace.url) as client:
        yield client


def folder_at(path: Path) -> Path:
    path.mkdir()
    (path / "train.py").write_text("print('hello')\n")
    return path


async def test_a_search_reads_as_many_pages_as_the_limit_asks_for(
    gp4u: Any, marketplace: Marketplace
) -> None:
    assert len(await gp4u.search("vram_gb>=24", limit=1000)) == OFFERS
    assert marketplace.page_sizes == [200, 200, 200]
    marketplace.page_sizes.clear()
    assert [offer["id"] for offer in await gp4u.search(limit=3)] == ["off_0", "off_1", "off_2"]
    assert marketplace.page_sizes == [3]


async def test_a_job_is_submitted_once_although_the_server_was_restarting(
    gp4u: Any, marketplace: Marketplace
) -> None:
    marketplace.restarting = 2
    job = await gp4u.run("python train.py", name="digits", gpus=2, per_hour_micros_max=800_000)
    assert (job.id, job.state) == ("job_1", "queued")
    assert len(marketplace.keys) == 3
    assert len(set(marketplace.keys)) == 1
    spec = marketplace.jobs["job_1"]["spec"]
    # What was not asked for is not sent: an older platform would not know every field of ours.
    assert spec == {
        "name": "digits",
        "command": "python train.py",
        "resources": {"gpus": 2},
        "budget": {"per_hour_micros_max": 800_000},
    }


async def test_a_folder_is_sent_once_and_named_in_the_job(
    gp4u: Any, marketplace: Marketplace, tmp_path: Path
) -> None:
    folder = folder_at(tmp_path / "job")
    packed = pack(folder)
    for number in (1, 2):
        job = await gp4u.run("python train.py", files=folder)
        assert job.id == f"job_{number}"
        assert marketplace.jobs[job.id]["spec"]["upload_id"] == f"upl_{packed.blake3[:8]}"
    assert marketplace.stored == {packed.blake3: packed.content}


async def test_a_chosen_offer_is_booked_and_a_taken_one_is_said_with_its_code(
    gp4u: Any, marketplace: Marketplace
) -> None:
    job = await gp4u.run("true", offer_id="off_7")
    assert job.data == marketplace.jobs["job_1"]
    with pytest.raises(ApiError) as refused:
        await gp4u.run("true", offer_id="off_taken")
    assert (refused.value.status, refused.value.code) == (409, "offer_taken")
    assert refused.value.detail == "Somebody else was quicker."
    assert refused.value.document["suggestion"] == "off_2"


async def test_a_cut_stream_is_taken_up_without_a_repetition_or_a_gap(
    gp4u: Any, marketplace: Marketplace
) -> None:
    job = await gp4u.run("true")
    updates = [update async for update in job.updates()]
    assert [update.data["kind"] for update in updates if update.kind == "timeline"] == EVENTS
    assert "".join(update.data["text"] for update in updates if update.kind == "log") == LOG
    assert marketplace.streams == [("0", 0), ("2", 8)]


async def test_waiting_ends_with_the_final_state_and_the_log_is_whole(
    gp4u: Any, marketplace: Marketplace
) -> None:
    job = await gp4u.run("true")
    ended = await job.wait()
    assert ended.state == "done"
    assert ended.has_ended
    assert await job.log() == LOG
    assert await job.log(offset=8) == LOG[8:]


async def test_a_long_timeline_is_read_to_its_end(gp4u: Any, marketplace: Marketplace) -> None:
    job = await gp4u.run("python train.py", name="digits")
    assert [event["id"] for event in await job.timeline()] == list(range(1, TIMELINE + 1))


async def test_a_missing_job_is_not_waited_for(gp4u: Any, marketplace: Marketplace) -> None:
    job = await gp4u.run("true")
    marketplace.jobs.clear()
    with pytest.raises(ApiError) as refused:
        await job.wait()
    assert refused.value.code == "not_found"
    with pytest.raises(ApiError):
        await gp4u.job("job_1")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_server_that_is_away_is_said_so(kind: str) -> None:
    async with opened(kind, "http://127.0.0.1:9") as client:
        with pytest.raises(ApiError) as failed:
            await client.wallet()
    assert (failed.value.status, failed.value.code) == (0, "unreachable")
    assert "127.0.0.1:9" in failed.value.detail


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_old_access_token_is_renewed_and_the_new_one_used(
    kind: str, marketplace: Marketplace
) -> None:
    old = Credentials(url=marketplace.url, access_token="old", refresh_token="r1")
    async with opened(kind, marketplace.url) as client:
        client.api.credentials = old
        assert await client.wallet() == {"balance_micros": 5}
        assert client.api.credentials.access_token == "fresh"
        assert client.api.credentials.refresh_token == "r1+"
        # A refused refresh token ends it: the caller sees why its own request was refused.
        client.api.credentials = old
        with pytest.raises(ApiError) as refused:
            await client.wallet()
    assert refused.value.code == "token_expired"
    assert marketplace.refreshed == ["r1"]


async def test_many_requests_that_expire_together_refresh_once(marketplace: Marketplace) -> None:
    async with AsyncClient(marketplace.url, "key") as client:
        client.api.credentials = Credentials(url=marketplace.url, access_token="old", refresh_token="r1")
        answers = await asyncio.gather(*(client.wallet() for _ in range(20)))
    assert answers == [{"balance_micros": 5}] * 20
    assert marketplace.refreshed == ["r1"]


async def test_bytes_of_a_signed_address(marketplace: Marketplace, tmp_path: Path) -> None:
    with Client(marketplace.url, "key") as plain:
        packed = pack(folder_at(tmp_path / "job"))
        send(plain.api, packed)
        assert plain.api.get_bytes(f"/store/{packed.blake3}", 2, 7) == packed.content[2:7]
    async with AsyncClient(marketplace.url, "key") as client:
        assert await client.api.get_bytes(f"/store/{packed.blake3}", 2, 7) == packed.content[2:7]


@pytest.mark.parametrize(
    ("plain", "awaited"), [(Client, AsyncClient), (Job, AsyncJob)], ids=["client", "job"]
)
def test_both_clients_have_the_same_nouns_and_verbs(plain: type, awaited: type) -> None:
    def verbs(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, lambda member: inspect.isfunction(member))
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in found
            if not name.startswith("_")
        }

    assert verbs(plain) == verbs(awaited)


def test_events_of_several_lines_and_without_names() -> None:
    lines = EventLines()
    stream = ["data: one", "data:two", "", "", "id: 7", "event: log", "data: {}", "", "data: left over"]
    events = [event for line in stream if (event := lines.take(line)) is not None]
    assert [(event.event, event.data, event.id) for event in events] == [
        ("message", "one\ntwo", ""),
        ("log", "{}", "7"),
    ]
