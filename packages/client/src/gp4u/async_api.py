"""`gp4u.api.ApiClient` for programs with an event loop. What needs no network is shared: see `gp4u.wire`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from gp4u import config, wire
from gp4u.config import Credentials
from gp4u.wire import EventLines, ServerEvent


class AsyncApiClient:
    """Talks to one marketplace, from one event loop. Several requests may run at once.

    Args:
        credentials: where and as whom; by default what `gp4u login` stored or the environment says.
        on_rotation: called with the new credentials when tokens were rotated, so that they can be kept.
        transport: how requests travel, where not over the network.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        on_rotation: Callable[[Credentials], None] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.credentials = credentials or config.load()
        self._on_rotation = on_rotation
        self._http = httpx2.AsyncClient(
            base_url=wire.base_url(self.credentials),
            timeout=wire.TIMEOUT_S,
            transport=transport,
            headers=wire.USER_AGENT,
        )
        self._rotating = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncApiClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, path: str, **params: Any) -> Any:
        """See `ApiClient.get`."""
        return await self.request("GET", path, params=wire.without_none(params))

    async def post(self, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Any:
        """See `ApiClient.post`."""
        return await self.request("POST", path, json=body, headers=wire.idempotency(idempotency_key))

    async def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body."""
        return await self.request("PATCH", path, json=body)

    async def delete(self, path: str) -> None:
        """DELETE."""
        await self.request("DELETE", path)

    async def pages(
        self, path: str, *, limit: int | None = None, **params: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Every item of a listing, page by page, at most `limit`."""
        cursor: str | None = None
        seen = 0
        while True:
            page = await self.get(path, cursor=cursor, limit=wire.page_size(limit, seen), **params)
            for item in page["items"]:
                yield item
            seen += len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None or (limit is not None and seen >= limit):
                return

    async def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """See `ApiClient.request`. Raises ApiError."""
        sent_as = self.credentials
        response = await self._send(method, path, **kwargs)
        if response.status_code == 401 and await self._rotate(sent_as):
            response = await self._send(method, path, **kwargs)
        return wire.document_of(response)

    async def put_bytes(self, url: str, content: bytes, headers: dict[str, str]) -> None:
        """PUT to a signed address, which carries its own authority."""
        address = wire.absolute(self.credentials, url)
        wire.checked(
            await self._retrying(
                lambda: self._http.put(
                    address, content=content, headers=headers, timeout=wire.TRANSFER_TIMEOUT_S
                )
            )
        )

    async def get_bytes(self, url: str, start: int | None = None, end: int | None = None) -> bytes:
        """GET a signed address, or bytes [start, end) of it."""
        address, headers = wire.absolute(self.credentials, url), wire.byte_range(start, end)
        answer = await self._retrying(
            lambda: self._http.get(address, headers=headers, timeout=wire.TRANSFER_TIMEOUT_S)
        )
        return wire.checked(answer).content

    @asynccontextmanager
    async def stream(
        self, path: str, *, last_event_id: str | None = None, **params: Any
    ) -> AsyncIterator[AsyncIterator[ServerEvent]]:
        """Server-sent events of `path`. The iterator ends when the server closes the stream."""
        headers = {"Accept": "text/event-stream", **wire.authorisation(self.credentials)}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        async with self._http.stream(
            "GET", f"{wire.API}{path}", params=params, headers=headers, timeout=wire.STREAM_TIMEOUT
        ) as response:
            if response.status_code >= 400:
                await response.aread()
            wire.checked(response)
            lines = EventLines()
            yield (event async for line in response.aiter_lines() if (event := lines.take(line)) is not None)

    async def _send(self, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        headers = {**kwargs.pop("headers", {}), **wire.authorisation(self.credentials)}
        return await self._retrying(
            lambda: self._http.request(method, f"{wire.API}{path}", headers=headers, **kwargs)
        )

    async def _retrying(self, send: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        for attempt in range(1, wire.CONNECT_ATTEMPTS_MAX + 1):
            last = attempt == wire.CONNECT_ATTEMPTS_MAX
            try:
                response = await send()
                if last or not wire.is_worth_another_try(response):
                    return response
            except httpx2.TransportError as error:
                if last:
                    raise wire.unreachable(self.credentials.url, error) from error
            await asyncio.sleep(wire.pause_s(attempt))
        raise AssertionError("unreachable code")

    async def _rotate(self, sent_as: Credentials) -> bool:
        # A refresh token is good once: of many requests refused at the same time, one refreshes and all go on.
        async with self._rotating:
            if self.credentials is not sent_as:
                return True
            body = wire.refresh_body(self.credentials)
            if body is None:
                return False
            response = await self._retrying(
                lambda: self._http.post(f"{wire.API}/auth/token/refresh", json=body)
            )
            if response.status_code >= 400:
                return False
            self.credentials = wire.with_new_tokens(self.credentials, response.json())
            if self._on_rotation:
                self._on_rotation(self.credentials)
            return True
