"""The agent's HTTP client: our API with the node's current token, and signed addresses without it.

Satisfies `gp4u_agent.checkpoint.http.CheckpointHttp`. No method retries by itself; `with_retries` does, with a limit.
Where several addresses of our API are known, a call that fails at one leaves it, so that the next try goes elsewhere.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2

from gp4u_agent.addresses import Addresses
from gp4u_agent.checkpoint.connections import reaches
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.checkpoint.puts import ObjectWriter
from gp4u_agent.checkpoint.ranges import RangeReader

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 60.0
JSON_TIMEOUT_S = 20.0
"""Of a call to our API while another address of it is known: one that stands still answers nobody."""
ELSEWHERE = (0, 502, 503, 504)
"""What another address may do better: no answer at all, or that of a proxy or a process that cannot serve."""
CONNECTIONS_MAX = 16
PART_BYTES = 256 * 1024
DIRECT_BYTES_MIN = 64 * 1024
Answer = TypeVar("Answer")


class StaleEpoch(HttpFailure):
    """The server said 409 `stale_epoch`: another epoch owns the job. Kill it."""


class AgentHttp:
    """One client for the agent's life. The token is replaced whenever the gateway sends a fresh one."""

    def __init__(self, addresses: str | Addresses) -> None:
        self.addresses = Addresses([addresses]) if isinstance(addresses, str) else addresses
        self.token: str | None = None
        self._base = self.addresses.next(time.monotonic()).url
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx2.Limits(max_connections=CONNECTIONS_MAX),
            follow_redirects=False,
        )
        self._ranges = RangeReader(httpx2.create_ssl_context, timeout_s=TIMEOUT_S)
        self._objects = ObjectWriter(httpx2.create_ssl_context, timeout_s=TIMEOUT_S)

    async def close(self) -> None:
        """Close the connections."""
        self._ranges.close()
        self._objects.close()
        await self._client.aclose()

    @property
    def base_url(self) -> str:
        """The address of our API that is used now."""
        return self._base

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def get_json(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """GET on our API. Raises HttpFailure, StaleEpoch."""
        return (await self._ask("GET", path, params=params)).json()

    async def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST on our API. Raises HttpFailure, StaleEpoch."""
        response = await self._ask("POST", path, json=dict(body))
        return response.json() if response.content else None

    async def put_bytes(
        self, url: str, data: bytes | memoryview, headers: Mapping[str, str] | None = None
    ) -> None:
        """PUT to a signed address. Raises HttpFailure."""
        base = self._base
        whole = _whole(base, url)
        if len(data) >= DIRECT_BYTES_MIN and reaches(whole):
            try:
                return await self._objects.write(whole, data, headers or {})
            except HttpFailure as failure:
                self._leave(base, url, failure)
                raise
        # In parts: one of sixteen megabytes would be copied whole into the socket's queue.
        length = {"Content-Length": str(len(data))}
        await self._send("PUT", url, content=_parts(data), headers={**(headers or {}), **length})

    async def get_range(self, url: str, start: int, end: int | None) -> bytes | bytearray:
        """Bytes `start` (inclusive) to `end` (exclusive; None: to the end) of a signed address."""
        base = self._base
        whole = _whole(base, url)
        if end is not None and end - start >= DIRECT_BYTES_MIN and reaches(whole):
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(self._ranges.threads, self._ranges.read, whole, start, end)
            except HttpFailure as failure:
                self._leave(base, url, failure)
                raise
        last = "" if end is None else str(end - 1)
        response = await self._send("GET", url, headers={"Range": f"bytes={start}-{last}"})
        if response.status_code == 200:  # a store that does not know ranges sends everything
            return response.content[start:end]
        return response.content

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[httpx2.Response]:
        """A signed address as a stream. Our token is never sent there. Raises HttpFailure."""
        base = self._base
        request = self._client.build_request("GET", _whole(base, url))
        try:
            response = await self._client.send(request, stream=True)
        except (httpx2.HTTPError, OSError) as error:
            raise self._leave(base, url, _no_answer(error)) from error
        try:
            if response.status_code != 200:
                await response.aread()
                raise self._leave(base, url, _failure(response))
            yield response
        except httpx2.HTTPError as error:  # it broke off in the middle
            raise self._leave(base, url, _no_answer(error)) from error
        finally:
            await response.aclose()

    async def _ask(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        if len(self.addresses.urls) > 1:
            arguments["timeout"] = httpx2.Timeout(JSON_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        return await self._send(method, path, headers=self._headers(), **arguments)

    async def _send(self, method: str, url: str, **arguments: Any) -> httpx2.Response:
        base = self._base
        try:
            response = await self._client.request(method, _whole(base, url), **arguments)
        except (httpx2.HTTPError, OSError) as error:
            raise self._leave(base, url, _no_answer(error)) from error
        if response.status_code >= 300:
            raise self._leave(base, url, _failure(response))
        return response

    def _leave(self, base: str, url: str, failure: HttpFailure) -> HttpFailure:
        """Go to the next address of our API when `base` could not serve. Of many calls that failed there one moves us on."""
        if url.startswith("/") and failure.status in ELSEWHERE:
            now = time.monotonic()
            self.addresses.failed(base, now)
            if self._base == base:
                self._base = self.addresses.next(now).url
        return failure


def _whole(base: str, url: str) -> str:
    return base + url if url.startswith("/") else url


def _no_answer(error: Exception) -> HttpFailure:
    return HttpFailure(0, None, str(error) or type(error).__name__)


async def _parts(data: bytes | memoryview) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PART_BYTES):
        yield bytes(data[start : start + PART_BYTES])


def _failure(response: httpx2.Response) -> HttpFailure:
    code = detail = None
    try:
        document = response.json()
        code, detail = document.get("code"), document.get("detail")
    except (ValueError, AttributeError):
        detail = response.text[:200]
    if response.status_code == 409 and code == "stale_epoch":
        return StaleEpoch(409, code, detail or "")
    return HttpFailure(response.status_code, code, detail if isinstance(detail, str) else str(detail or ""))


async def with_retries(
    call: Callable[[], Awaitable[Answer]],
    *,
    attempts: int = 5,
    first_delay_s: float = 0.2,
    delay_s_max: float = 5.0,
) -> Answer:
    """Call again after transient failures, with growing, jittered pauses. The last failure is raised."""
    for attempt in range(attempts):
        try:
            return await call()
        except HttpFailure as failure:
            if not failure.is_transient or attempt == attempts - 1:
                raise
        await asyncio.sleep(random.uniform(0.5, 1) * min(delay_s_max, first_delay_s * 2**attempt))  # noqa: S311
    raise AssertionError("unreachable")
