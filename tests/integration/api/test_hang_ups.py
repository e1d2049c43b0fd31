"""Whoever leaves in the middle of an upload: one line in the log, nothing in the store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn
from gp4u_server.adapters.objectstore import FolderObjectStore
from gp4u_server.api.app import create_app
from structlog.testing import capture_logs

ANNOUNCED = 4 << 20


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[FolderObjectStore, int]]:
    """The platform's application with a folder store and nothing else, and its port."""
    store = FolderObjectStore.open(tmp_path, bytes(32))
    app = create_app()
    app.state.provided = {FolderObjectStore: store}
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http="httptools", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield store, server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


async def test_hanging_up_in_an_upload_is_one_line_of_the_log_and_leaves_nothing(
    served: tuple[FolderObjectStore, int], caplog: pytest.LogCaptureFixture
) -> None:
    store, port = served
    address = await store.sign_put("jobs/job_1/packs/1", size_bytes=ANNOUNCED, expires_in_s=60)
    with capture_logs() as lines:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"PUT {address.url} HTTP/1.1\r\nHost: x\r\nContent-Length: {ANNOUNCED}\r\n\r\n".encode()
            + bytes(ANNOUNCED // 2)
        )
        await writer.drain()
        async with asyncio.timeout(30):
            while not any((store.root / "incoming").iterdir()):
                await asyncio.sleep(0.01)
            writer.close()
            while not lines:
                await asyncio.sleep(0.01)
    assert [(line["log_level"], line["event"], line["status"]) for line in lines] == [
        ("info", "request", 499)
    ]
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR", "CRITICAL")]
    left = [path for path in store.root.rglob("*") if path.is_file()]
    assert left == []
