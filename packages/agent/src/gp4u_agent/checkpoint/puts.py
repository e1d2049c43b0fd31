"""Uploads to signed addresses on plain sockets, for threads: the kernel copies a pack out of its buffer while others are sealed."""

import asyncio
import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from gp4u_agent.checkpoint.connections import (
    ERROR_BYTES_MAX,
    Connections,
    Origin,
    no_answer,
    place,
    refusal,
)

WRITERS = 4
PART_BYTES = 256 * 1024
"""The time-out is for sending one part, so a slow link may take as long as it needs for the whole."""


@dataclass
class _Sending:
    """One upload, which its asker may call off from another thread."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    connection: http.client.HTTPConnection | None = None
    called_off: bool = False

    def use(self, connection: http.client.HTTPConnection) -> None:
        """Go on with this connection. Raises ConnectionAbortedError when nobody wants it any more."""
        with self.lock:
            if self.called_off:
                raise ConnectionAbortedError("the upload was called off")
            self.connection = connection

    def call_off(self) -> None:
        """Break the connection, so that the thread lets go of the content soon."""
        with self.lock:
            self.called_off = True
            if self.connection is not None and self.connection.sock is not None:
                with contextlib.suppress(OSError):
                    self.connection.sock.shutdown(socket.SHUT_RDWR)


class ObjectWriter:
    """Keeps connections open between uploads. Its threads are its own."""

    def __init__(self, tls: Callable[[], ssl.SSLContext], *, timeout_s: float) -> None:
        self._connections = Connections(tls, timeout_s=timeout_s)
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="put")

    def close(self) -> None:
        """Close what is idle; uploads that are under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    async def write(self, url: str, content: bytes | memoryview, headers: Mapping[str, str]) -> None:
        """PUT to a whole address. Raises HttpFailure. When it returns, raises or is cancelled, `content` is not read any more."""
        sending = _Sending()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._write, sending, url, content, headers)
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            sending.call_off()
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # nobody asks for it any more
            raise

    def _write(
        self, sending: _Sending, url: str, content: bytes | memoryview, headers: Mapping[str, str]
    ) -> None:
        origin, target = place(url)
        kept = self._connections.idle(origin)
        if kept is not None:
            try:
                return self._send(sending, kept, origin, target, content, headers)
            except (http.client.HTTPException, OSError):
                kept.close()  # idle too long for the other side; a fresh connection tells whether it is there
        fresh = self._connections.fresh(origin)
        try:
            self._send(sending, fresh, origin, target, content, headers)
        except (http.client.HTTPException, OSError) as error:
            fresh.close()
            raise no_answer(error) from error

    def _send(
        self, sending: _Sending, connection: http.client.HTTPConnection, origin: Origin, target: str,
        content: bytes | memoryview, headers: Mapping[str, str],
    ) -> None:  # fmt: skip
        sending.use(connection)
        if connection.sock is None:
            connection.connect()
            sending.use(connection)  # called off while it connected: there was no socket to break yet
        try:
            connection.request(
                "PUT", target, body=_parts(content), headers={**headers, "Content-Length": str(len(content))}
            )
        except (BrokenPipeError, ConnectionResetError):
            # Refused before the end, and hung up: the reason may lie in what was answered before that.
            answer = connection.getresponse()
        else:
            answer = connection.getresponse()
        body = answer.read(ERROR_BYTES_MAX)
        if answer.status >= 300:
            connection.close()
            raise refusal(answer.status, body)
        self._connections.keep(origin, connection, answer)


def _parts(content: bytes | memoryview) -> Iterator[memoryview]:
    view = memoryview(content)
    for start in range(0, len(view), PART_BYTES):
        yield view[start : start + PART_BYTES]
