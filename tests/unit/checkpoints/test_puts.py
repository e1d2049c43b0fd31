"""Uploads on plain sockets, against a real server that behaves in every way a store may."""

import asyncio
import gc
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.puts import ObjectWriter

CONTENT = bytes(range(256)) * 40_000
"""Ten megabytes: more than a socket's queues take."""


class Store(BaseHTTPRequestHandler):
    """`/take`; `/once` and hang up; `/refuse` before the body and hang up; `/stall` without reading; numbers: that status."""

    protocol_version = "HTTP/1.1"
    connections = 0
    taken: list[tuple[str, bytes]]
    stalls: threading.Event
    go_on: threading.Event

    def setup(self) -> None:
        Store.connections += 1
        super().setup()

    def do_PUT(self) -> None:
        name = self.path.strip("/").split("?")[0]
        if name == "stall":
            Store.stalls.set()
            Store.go_on.wait(60)
            self.close_connection = True
            return
        if name == "refuse":
            self._answer(412)
            self.close_connection = True
            return
        content = self.rfile.read(int(self.headers["Content-Length"]))
        Store.taken.append((self.headers["If-None-Match"], content))
        self._answer(int(name) if name.isdigit() else 201)
        self.close_connection = name == "once"

    def _answer(self, status: int) -> None:
        body = b'{"code": "address_invalid", "detail": "over"}' if status >= 300 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def base() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    Store.connections, Store.taken = 0, []
    Store.stalls, Store.go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Store.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def writer() -> Iterator[ObjectWriter]:
    made = ObjectWriter(ssl.create_default_context, timeout_s=60)
    yield made
    made.close()


async def test_objects_go_over_one_connection_as_they_are(base: str, writer: ObjectWriter) -> None:
    for content in (CONTENT, CONTENT[:1], CONTENT[5:300_000]):
        await writer.write(f"{base}/take?sig=1", memoryview(content), {"If-None-Match": "*"})
        assert Store.taken.pop() == ("*", content)
    assert Store.connections == 1


async def test_a_connection_that_the_other_side_closed_is_replaced(base: str, writer: ObjectWriter) -> None:
    for _ in range(3):
        await writer.write(f"{base}/once", CONTENT[:100], {})
    assert Store.connections == 3


@pytest.mark.parametrize("status", [403, 412, 503])
async def test_refusals_keep_their_status_and_code(base: str, writer: ObjectWriter, status: int) -> None:
    with pytest.raises(HttpFailure) as failure:
        await writer.write(f"{base}/{status}", CONTENT[:100], {})
    assert (failure.value.status, failure.value.code) == (status, "address_invalid")


async def test_a_refusal_before_the_end_is_a_failure_and_nothing_was_taken(
    base: str, writer: ObjectWriter
) -> None:
    with pytest.raises(HttpFailure) as failure:
        await writer.write(f"{base}/refuse", CONTENT, {})
    # The reset that follows may overtake the answer: then nobody can tell why.
    assert failure.value.status in (412, 0)
    assert Store.taken == []


async def test_an_upload_that_is_called_off_lets_go_of_its_content(base: str, writer: ObjectWriter) -> None:
    content = bytearray(CONTENT)
    work = asyncio.create_task(writer.write(f"{base}/stall", memoryview(content), {}))
    assert await asyncio.to_thread(Store.stalls.wait, 30)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(work, 30)  # the server reads nothing for a minute
    gc.collect()  # errors and the frames they were raised in hold each other
    content += b"nobody holds a view of it"


async def test_nobody_there_is_a_failure_on_the_way(writer: ObjectWriter) -> None:
    with pytest.raises(HttpFailure) as failure:
        await writer.write("http://127.0.0.1:1/x", b"x", {})
    assert failure.value.is_transient
