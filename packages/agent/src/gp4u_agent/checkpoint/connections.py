"""Plain connections to where signed addresses lead, for threads, kept open between requests.

The agent's own client parses every part of a body on the event loop; sockets that block let the kernel copy while other threads work.
"""

import http.client
import json
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from gp4u_agent.checkpoint.http import HttpFailure

ERROR_BYTES_MAX = 64 * 1024
Origin = tuple[str, str, int]


def reaches(url: str) -> bool:
    """Whether a whole address is reached without a proxy."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return False
    proxied = parts.scheme in getproxies() or "all" in getproxies()
    return not proxied or bool(proxy_bypass(parts.hostname))


def place(url: str) -> tuple[Origin, str]:
    """Whom to ask for a whole address, and for what."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    origin = (parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    return origin, parts.path + (f"?{parts.query}" if parts.query else "")


class Connections:
    """Those that are idle. A connection in use belongs to whoever took it: it comes back by `keep`, or is closed."""

    def __init__(self, tls: Callable[[], ssl.SSLContext], *, timeout_s: float) -> None:
        self._tls = tls
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = defaultdict(list)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            connections = [each for kept in self._idle.values() for each in kept]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def idle(self, origin: Origin) -> http.client.HTTPConnection | None:
        """One that was used before, if there is one. It may have been closed by the other side meanwhile."""
        with self._lock:
            return self._idle[origin].pop() if self._idle[origin] else None

    def fresh(self, origin: Origin) -> http.client.HTTPConnection:
        """A new one; it connects with the first request."""
        scheme, host, port = origin
        if scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls())
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def keep(
        self, origin: Origin, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
    ) -> None:
        """Take a connection back after `answer`, which must have been read whole; close it otherwise."""
        if answer.isclosed() and not answer.will_close:
            with self._lock:
                self._idle[origin].append(connection)
        else:
            connection.close()


def no_answer(error: BaseException) -> HttpFailure:
    """The failure of a connection that broke or never was."""
    return HttpFailure(0, None, str(error) or type(error).__name__)


def refusal(status: int, body: bytes) -> HttpFailure:
    """The failure that an answer's status and body describe."""
    try:
        document = json.loads(body)
        return HttpFailure(status, document.get("code"), str(document.get("detail") or ""))
    except (ValueError, AttributeError):
        return HttpFailure(status, None, body[:200].decode(errors="replace"))
