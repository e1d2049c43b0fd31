"""Ranged reads of signed addresses on plain sockets, for threads: on the event loop a restore would be bound by one core."""

import http.client
import json
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from gp4u_agent.checkpoint.http import HttpFailure

READERS = 8
ERROR_BYTES_MAX = 64 * 1024
Origin = tuple[str, str, int]


class RangeReader:
    """Keeps connections open between reads. Its threads are its own: a restore must not use up everybody's."""

    def __init__(self, tls: Callable[[], ssl.SSLContext], *, timeout_s: float) -> None:
        self._tls = tls
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = defaultdict(list)
        self.threads = ThreadPoolExecutor(READERS, thread_name_prefix="range")

    def close(self) -> None:
        """Close what is idle; reads that are under way end by themselves."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            connections = [each for kept in self._idle.values() for each in kept]
            self._idle.clear()
        for connection in connections:
            connection.close()

    @staticmethod
    def reaches(url: str) -> bool:
        """Whether a whole address is reached without a proxy."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            return False
        proxied = parts.scheme in getproxies() or "all" in getproxies()
        return not proxied or bool(proxy_bypass(parts.hostname))

    def read(self, url: str, start: int, end: int) -> bytearray:
        """Bytes `start` to `end` (exclusive) of a whole address. Blocks. Raises HttpFailure.

        An object that ends earlier is handed over as it is: whoever asked knows how long it must be.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None
        origin = (parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        with self._lock:
            kept = self._idle[origin].pop() if self._idle[origin] else None
        if kept is not None:
            try:
                return self._read(kept, origin, target, start, end)
            except (http.client.HTTPException, OSError):
                kept.close()  # idle too long for the other side; a fresh connection tells whether it is there
        fresh = self._connect(origin)
        try:
            return self._read(fresh, origin, target, start, end)
        except (http.client.HTTPException, OSError) as error:
            fresh.close()
            raise HttpFailure(0, None, str(error) or type(error).__name__) from error

    def _connect(self, origin: Origin) -> http.client.HTTPConnection:
        scheme, host, port = origin
        if scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls())
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def _read(
        self, connection: http.client.HTTPConnection, origin: Origin, target: str, start: int, end: int
    ) -> bytearray:
        connection.request("GET", target, headers={"Range": f"bytes={start}-{end - 1}"})
        answer = connection.getresponse()
        if answer.status >= 300:
            body = answer.read(ERROR_BYTES_MAX)
            connection.close()
            raise _failure(answer.status, body)
        skip = start if answer.status == 200 else 0  # a store that does not know ranges sends everything
        while skip > 0:
            passed = len(answer.read(min(skip, 1 << 20)))
            if passed == 0:
                break
            skip -= passed
        room = bytearray(end - start)
        view, got = memoryview(room), 0
        while got < len(room):
            count = answer.readinto(view[got:])
            if count == 0:
                break
            got += count
        view.release()
        if got < len(room) and answer.length:  # it broke off: trouble on the way, not a short object
            raise http.client.IncompleteRead(b"", answer.length)
        del room[got:]
        if answer.isclosed() and not answer.will_close:
            with self._lock:
                self._idle[origin].append(connection)
        else:
            connection.close()
        return room


def _failure(status: int, body: bytes) -> HttpFailure:
    try:
        document = json.loads(body)
        return HttpFailure(status, document.get("code"), str(document.get("detail") or ""))
    except (ValueError, AttributeError):
        return HttpFailure(status, None, body[:200].decode(errors="replace"))
