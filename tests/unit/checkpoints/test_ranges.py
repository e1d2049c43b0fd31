"""Ranged reads on plain sockets, against a real server that behaves in every way a store may."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.ranges import RangeReader

CONTENT = bytes(range(256)) * 1000


class Store(BaseHTTPRequestHandler):
    """`/ranges` as asked, `/whole` everything, `/short` less than promised, `/once` and hang up, numbers: that status."""

    protocol_version = "HTTP/1.1"
    connections = 0

    def setup(self) -> None:
        Store.connections += 1
        super().setup()

    def do_GET(self) -> None:
        first, last = (int(part) for part in self.headers["Range"].removeprefix("bytes=").split("-"))
        wanted = CONTENT[first : last + 1]
        name = self.path.strip("/").split("?")[0]
        if name.isdigit():
            self._answer(int(name), b'{"code": "address_invalid", "detail": "over"}')
        elif name == "whole":
            self._answer(200, CONTENT)
        elif name == "short":
            self.send_response(206)
            self.send_header("Content-Length", str(len(wanted)))
            self.end_headers()
            self.wfile.write(wanted[:-1])
            self.close_connection = True
        else:
            self._answer(206, wanted)
            self.close_connection = name == "once"

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def base() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    Store.connections = 0
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def reader() -> Iterator[RangeReader]:
    made = RangeReader(ssl.create_default_context, timeout_s=20)
    yield made
    made.close()


def test_ranges_come_over_one_connection(base: str, reader: RangeReader) -> None:
    for start, end in ((0, 10), (1000, 200_000), (255_999, 256_000)):
        assert reader.read(f"{base}/ranges?sig=1", start, end) == CONTENT[start:end]
    assert Store.connections == 1


def test_a_store_without_ranges_sends_everything(base: str, reader: RangeReader) -> None:
    assert reader.read(f"{base}/whole", 3000, 5000) == CONTENT[3000:5000]
    assert reader.read(f"{base}/ranges", 0, 5) == CONTENT[:5]


def test_a_connection_that_the_other_side_closed_is_replaced(base: str, reader: RangeReader) -> None:
    for _ in range(3):
        assert reader.read(f"{base}/once", 0, 100) == CONTENT[:100]


@pytest.mark.parametrize("status", [403, 404, 416, 503])
def test_refusals_keep_their_status_and_code(base: str, reader: RangeReader, status: int) -> None:
    with pytest.raises(HttpFailure) as failure:
        reader.read(f"{base}/{status}", 0, 10)
    assert (failure.value.status, failure.value.code) == (status, "address_invalid")


def test_what_breaks_off_is_never_taken_for_the_whole(base: str, reader: RangeReader) -> None:
    with pytest.raises(HttpFailure) as failure:
        reader.read(f"{base}/short", 0, 5000)
    assert failure.value.is_transient


def test_an_object_that_ends_earlier_is_handed_over_as_it_is(base: str, reader: RangeReader) -> None:
    assert reader.read(f"{base}/ranges", 255_000, 260_000) == CONTENT[255_000:]


def test_nobody_there_is_a_failure_on_the_way(reader: RangeReader) -> None:
    with pytest.raises(HttpFailure) as failure:
        reader.read("http://127.0.0.1:1/x", 0, 10)
    assert failure.value.is_transient


def test_proxies_are_left_to_the_client_that_knows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RangeReader.reaches("https://store.example/x")
    assert not RangeReader.reaches("/api/v1/store/x")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert not RangeReader.reaches("https://store.example/x")
    assert RangeReader.reaches("https://inside.example/x")
