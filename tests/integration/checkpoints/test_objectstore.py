"""One contract, two stores: a folder behind our API and a real S3-protocol server that checks signatures."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from gp4u_server.adapters import objectstore_web
from gp4u_server.adapters.objectstore import FolderObjectStore, S3ObjectStore, check_key
from gp4u_server.catalyst.checkpoints.collection import CheckpointCollection, CollectionTerms
from gp4u_server.catalyst.checkpoints.control import DeletionLoop
from gp4u_server.catalyst.checkpoints.ports import ObjectStore, SignedPut, StoreUnavailable
from gp4u_server.catalyst.checkpoints.retention import KeepRule
from gp4u_server.catalyst.jobs.data_keys import DataKeys
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.foundation.events import EventBus
from gp4u_server.foundation.outbox import PostgresOutbox
from gp4u_server.kit.db import Database
from gp4u_server.kit.errors import DomainError, Kind
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse

from tests.integration.checkpoints.conftest import NoGateways

BUCKET = "gp4u-test"
WEED = Path(sys.executable).parent / "weed"


@dataclass
class Reached:
    """A store and a client that reaches its signed addresses."""

    store: ObjectStore
    client: httpx2.AsyncClient

    async def put(self, address: SignedPut, content: bytes) -> int:
        answer = await self.client.put(address.url, content=content, headers=address.headers)
        return answer.status_code


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A SeaweedFS that wants signatures."""
    folder = tmp_path_factory.mktemp("seaweed")
    config = folder / "s3.json"
    config.write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": "gp4u",
                        "credentials": [{"accessKey": "key", "secretKey": "secret"}],
                        "actions": ["Admin", "Read", "Write", "List"],
                    }
                ]
            }
        )
    )
    process, port = _start_weed(folder, config)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()  # its data is thrown away; a polite stop takes 15 s
        process.wait()


def _start_weed(folder: Path, config: Path) -> "tuple[subprocess.Popen[bytes], int]":
    """A ready server and its port. It wants eight; when somebody took one in the meantime, eight others."""
    log_path = folder / "log"
    for _ in range(5):
        port = free_port()
        ports = [
            f"-{name}={free_port()}"
            for name in ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
                         "filer.port.grpc", "s3.port.grpc")
        ]  # fmt: skip
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [str(WEED), "server", "-ip=127.0.0.1", f"-dir={folder}", "-s3", f"-s3.port={port}",
                 f"-s3.config={config}", *ports, "-volume.preStopSeconds=1", "-master.volumeSizeLimitMB=64"],
                stdout=log, stderr=log, cwd=folder, env={**os.environ, "HOME": str(folder)},
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                    return process, port
            time.sleep(0.1)
        process.kill()
        process.wait()
    raise AssertionError(log_path.read_text(errors="replace")[-2000:])


async def _folder(tmp_path: Path) -> Reached:
    store = FolderObjectStore.open(tmp_path / "store", bytes(32))
    app = FastAPI()
    app.state.provided = {FolderObjectStore: store}
    app.include_router(objectstore_web.router, prefix="/api/v1")

    @app.exception_handler(DomainError)
    async def refuse(_request: Request, error: DomainError) -> JSONResponse:
        status = {Kind.FORBIDDEN: 403, Kind.NOT_FOUND: 404, Kind.UNAVAILABLE: 503, Kind.INVALID: 422}
        return JSONResponse({"code": error.code}, status[error.kind])

    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gp4u")
    return Reached(store, client)


async def _s3(endpoint: str) -> Reached:
    store = S3ObjectStore.connect(
        endpoint=endpoint, bucket=BUCKET, region="us-east-1", access_key_id="key", secret="secret"
    )
    client = httpx2.AsyncClient(timeout=60)
    await asyncio.to_thread(_make_bucket, endpoint)
    return Reached(store, client)


def _make_bucket(endpoint: str) -> None:
    """CreateBucket with a hand-made version 4 signature: obstore has no call for it."""
    now = datetime.now(UTC)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    host = endpoint.removeprefix("http://")
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": stamp}
    signed = ";".join(sorted(headers))
    canonical = "\n".join(
        ["PUT", f"/{BUCKET}", "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", signed, empty]
    )
    scope = f"{day}/us-east-1/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4secret"
    for part in (day, "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential=key/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
    answer = httpx2.put(f"{endpoint}/{BUCKET}", headers=headers)
    assert answer.status_code in (200, 409), answer.text


@pytest.fixture(params=["folder", "s3"])
async def reached(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reached]:
    """Each store in turn."""
    if request.param == "folder":
        found = await _folder(tmp_path)
    else:
        found = await _s3(request.getfixturevalue("s3_endpoint"))
    async with found.client:
        yield found


def key_of() -> str:
    return f"jobs/{os.urandom(8).hex()}/pack"


async def test_what_is_put_is_there_whole_and_in_ranges(reached: Reached) -> None:
    key, content = key_of(), os.urandom(3_000_000)
    assert await reached.store.size_of(key) is None
    assert await reached.store.read(key, bytes_max=10) is None
    address = await reached.store.sign_put(key, size_bytes=len(content), expires_in_s=60)
    assert await reached.put(address, content) in (200, 201)
    assert await reached.store.size_of(key) == len(content)
    assert await reached.store.read(key, bytes_max=len(content)) == content
    assert await reached.store.read(key, bytes_max=len(content) - 1) is None
    url = await reached.store.sign_get(key, expires_in_s=60)
    assert (await reached.client.get(url)).content == content
    part = await reached.client.get(url, headers={"Range": "bytes=1000-2999"})
    assert (part.status_code, part.content) == (206, content[1000:3000])


async def test_an_object_is_never_overwritten(reached: Reached) -> None:
    key = key_of()
    for content, wanted in ((b"first", (200, 201)), (b"other", (412,))):
        address = await reached.store.sign_put(key, size_bytes=5, expires_in_s=60)
        assert await reached.put(address, content) in wanted
    assert await reached.store.read(key, bytes_max=5) == b"first"


async def test_an_address_serves_one_object_and_one_operation(reached: Reached) -> None:
    key, other = key_of(), key_of()
    await reached.put(await reached.store.sign_put(key, size_bytes=1, expires_in_s=60), b"x")
    await reached.put(await reached.store.sign_put(other, size_bytes=1, expires_in_s=60), b"y")
    get = await reached.store.sign_get(key, expires_in_s=60)
    assert (await reached.client.get(get)).status_code == 200
    assert (await reached.client.get(get.replace(key, other))).status_code == 403
    assert (await reached.client.put(get, content=b"z")).status_code == 403
    assert (await reached.client.delete(get)).status_code in (403, 405)
    assert (await reached.client.get(get.split("?")[0])).status_code in (403, 422)
    put = (await reached.store.sign_put(key_of(), size_bytes=1, expires_in_s=60)).url
    assert (await reached.client.get(put)).status_code == 403


async def test_an_address_expires(reached: Reached) -> None:
    key = key_of()
    await reached.put(await reached.store.sign_put(key, size_bytes=1, expires_in_s=60), b"x")
    url = await reached.store.sign_get(key, expires_in_s=1)
    deadline = time.monotonic() + 20
    while (await reached.client.get(url)).status_code != 403:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_a_missing_object_is_404(reached: Reached) -> None:
    url = await reached.store.sign_get(key_of(), expires_in_s=60)
    assert (await reached.client.get(url)).status_code == 404


async def test_h19_what_was_decided_to_go_is_removed_and_removing_it_again_is_harmless(
    reached: Reached, database: Database
) -> None:
    """The second removal meets nothing, or a put that arrived late; both end the same."""
    keys = [key_of(), key_of()]
    for key in keys:
        await reached.put(await reached.store.sign_put(key, size_bytes=1, expires_in_s=60), b"x")
    async with database.transaction() as session:
        for key in keys:
            await session.execute(
                text(
                    "INSERT INTO store_deletions (id, key, size_bytes, due_at) VALUES (:key, :key, 1, now())"
                ),
                {"key": key},
            )
    terms = CollectionTerms(KeepRule(1, 0), timedelta(days=1), timedelta(minutes=1), timedelta(0))
    jobs = JobService(EventBus(PostgresOutbox()), DataKeys(bytes(32)), NoGateways())
    loop = DeletionLoop(database, CheckpointCollection(jobs, reached.store, terms))
    assert await loop.run_once() == 2
    assert [await reached.store.size_of(key) for key in keys] == [None, None]
    await reached.put(await reached.store.sign_put(keys[0], size_bytes=1, expires_in_s=60), b"x")
    assert await loop.run_once() == 2
    assert [await reached.store.size_of(key) for key in keys] == [None, None]
    assert await loop.run_once() == 0


@pytest.mark.parametrize("key", ["", "/a", "a/../b", "a//b", "../x", ".hidden", "a b", "a\n", "x" * 513])
def test_keys_that_could_name_something_else_are_refused(key: str) -> None:
    with pytest.raises(ValueError):
        check_key(key)


async def test_a_body_that_is_not_as_long_as_announced_is_not_kept(tmp_path: Path) -> None:
    reached = await _folder(tmp_path)
    for content in (b"1234", b"123456", b""):
        address = await reached.store.sign_put("a/b", size_bytes=5, expires_in_s=60)
        assert await reached.put(address, content) == 422
    assert await reached.store.size_of("a/b") is None
    assert list((tmp_path / "store" / "incoming").iterdir()) == []
    await reached.client.aclose()


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    reached = await _folder(tmp_path)
    (tmp_path / "store" / "incoming").rmdir()
    address = await reached.store.sign_put("a/b", size_bytes=1, expires_in_s=60)
    assert await reached.put(address, b"x") == 503
    await reached.client.aclose()


async def test_a_store_that_does_not_answer_is_said() -> None:
    store = S3ObjectStore.connect(
        endpoint=f"http://127.0.0.1:{free_port()}",
        bucket=BUCKET,
        region="us-east-1",
        access_key_id="k",
        secret="s",
    )
    with pytest.raises(StoreUnavailable):
        await store.size_of("a/b")
