"""The HTTP client under the command and the SDK: authentication, token rotation, errors, retries."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from gp4u import config, wire
from gp4u.config import Credentials
from gp4u.wire import ApiError, EventLines, ServerEvent, error_from

__all__ = ["ApiClient", "ApiError", "ServerEvent", "error_from"]


class ApiClient:
    """Talks to one marketplace. Not thread-safe; use one per thread.

    Args:
        credentials: where and as whom; by default what `gp4u login` stored or the environment says.
        on_rotation: called with the new credentials when tokens were rotated, so that they can be kept.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        on_rotation: Callable[[Credentials], None] | None = None,
    ) -> None:
        self.credentials = credentials or config.load()
        self._on_rotation = on_rotation
        self._http = httpx2.Client(
            base_url=wire.base_url(self.credentials), timeout=wire.TIMEOUT_S, headers=wire.USER_AGENT
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> "ApiClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, **params: Any) -> Any:
        """GET `/api/v1{path}`; parameters that are None are left out. Returns the JSON document."""
        return self.request("GET", path, params=wire.without_none(params))

    def post(self, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Any:
        """POST a JSON body. A key is made when none is given, so a retry after a lost reply is safe."""
        return self.request("POST", path, json=body, headers=wire.idempotency(idempotency_key))

    def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body."""
        return self.request("PATCH", path, json=body)

    def delete(self, path: str) -> None:
        """DELETE."""
        self.request("DELETE", path)

    def pages(self, path: str, *, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a listing, page by page, at most `limit`."""
        cursor: str | None = None
        seen = 0
        while True:
            page = self.get(path, cursor=cursor, limit=wire.page_size(limit, seen), **params)
            yield from page["items"]
            seen += len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None or (limit is not None and seen >= limit):
                return

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """One request with retries while the server cannot be reached, and one token rotation on 401.

        Raises ApiError.
        """
        response = self._send(method, path, **kwargs)
        if response.status_code == 401 and self._rotate():
            response = self._send(method, path, **kwargs)
        return wire.document_of(response)

    def put_bytes(self, url: str, content: bytes, headers: dict[str, str]) -> None:
        """PUT to a signed address, which carries its own authority."""
        address = wire.absolute(self.credentials, url)
        wire.checked(
            self._retrying(
                lambda: self._http.put(
                    address, content=content, headers=headers, timeout=wire.TRANSFER_TIMEOUT_S
                )
            )
        )

    def get_bytes(self, url: str, start: int | None = None, end: int | None = None) -> bytes:
        """GET a signed address, or bytes [start, end) of it."""
        address, headers = wire.absolute(self.credentials, url), wire.byte_range(start, end)
        return wire.checked(
            self._retrying(lambda: self._http.get(address, headers=headers, timeout=wire.TRANSFER_TIMEOUT_S))
        ).content

    @contextmanager
    def stream(
        self, path: str, *, last_event_id: str | None = None, **params: Any
    ) -> Iterator[Iterator[ServerEvent]]:
        """Server-sent events of `path`. The iterator ends when the server closes the stream."""
        headers = {"Accept": "text/event-stream", **wire.authorisation(self.credentials)}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        with self._http.stream(
            "GET", f"{wire.API}{path}", params=params, headers=headers, timeout=wire.STREAM_TIMEOUT
        ) as response:
            if response.status_code >= 400:
                response.read()
            wire.checked(response)
            lines = EventLines()
            yield (event for line in response.iter_lines() if (event := lines.take(line)) is not None)

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        headers = {**kwargs.pop("headers", {}), **wire.authorisation(self.credentials)}
        return self._retrying(
            lambda: self._http.request(method, f"{wire.API}{path}", headers=headers, **kwargs)
        )

    def _retrying(self, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        for attempt in range(1, wire.CONNECT_ATTEMPTS_MAX + 1):
            last = attempt == wire.CONNECT_ATTEMPTS_MAX
            try:
                response = send()
                if last or not wire.is_worth_another_try(response):
                    return response
            except httpx2.TransportError as error:
                if last:
                    raise wire.unreachable(self.credentials.url, error) from error
            time.sleep(wire.pause_s(attempt))
        raise AssertionError("unreachable code")

    def _rotate(self) -> bool:
        body = wire.refresh_body(self.credentials)
        if body is None:
            return False
        response = self._retrying(lambda: self._http.post(f"{wire.API}/auth/token/refresh", json=body))
        if response.status_code >= 400:
            return False
        self.credentials = wire.with_new_tokens(self.credentials, response.json())
        if self._on_rotation:
            self._on_rotation(self.credentials)
        return True
