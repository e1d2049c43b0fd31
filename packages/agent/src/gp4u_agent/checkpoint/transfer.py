"""Calls and transfers with bounded retries. What cannot be retried away becomes a situation of this package."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from gp4u_agent.checkpoint.http import CheckpointHttp, HttpFailure
from gp4u_agent.http import StaleEpoch

ATTEMPTS_MAX = 6
FIRST_DELAY_S = 0.1
DELAY_S_MAX = 3.0

Answer = TypeVar("Answer")


class StoreUnreachable(HttpFailure):
    """The API or the store did not answer, however often it was asked. What was saved is still there."""


class Transfer:
    """The engine's way to the API and the store. Raises StaleEpoch, StoreUnreachable, or HttpFailure as it came."""

    def __init__(self, http: CheckpointHttp, *, first_delay_s: float = FIRST_DELAY_S) -> None:
        self._http = http
        self._first_delay_s = first_delay_s

    async def get_json(self, path: str, params: Mapping[str, str | int]) -> Any:
        return await self._insist(lambda: self._http.get_json(path, params))

    async def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._insist(lambda: self._http.post_json(path, body))

    async def put(self, url: str, content: bytes | memoryview, headers: Mapping[str, str]) -> None:
        """Upload one object. An object that exists is one whose first answer was lost: ids are never used twice."""
        try:
            await self._insist(lambda: self._http.put_bytes(url, content, headers))
        except HttpFailure as failure:
            if failure.status != 412:
                raise

    async def get_range(self, url: str, start: int, end: int | None) -> bytes | bytearray:
        return await self._insist(lambda: self._http.get_range(url, start, end))

    async def _insist(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        delay_s = self._first_delay_s
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return await call()
            except HttpFailure as failure:
                if failure.code == "stale_epoch":
                    raise StaleEpoch(failure.status, failure.code, failure.detail) from failure
                if not failure.is_transient:
                    raise
                if attempt == ATTEMPTS_MAX:
                    raise StoreUnreachable(failure.status, failure.code, failure.detail) from failure
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  jitter, not a secret
            delay_s = min(2 * delay_s, DELAY_S_MAX)
        raise AssertionError("the last attempt returns or raises")
