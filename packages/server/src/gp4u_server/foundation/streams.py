"""Wake-ups and short-lived values through Valkey. Losing any of it costs latency and nothing else.

Every reader re-reads PostgreSQL from where it stood; a message only says "look now". So no method here raises when
Valkey is away: `wake` does nothing, `wait` becomes a sleep, `recall` answers None.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

_TROUBLES = (RedisError, OSError, TimeoutError)


@dataclass
class Subscription:
    """Waits for wake-ups about one thing. Reconnects by itself."""

    redis: Redis
    channel: str
    _pubsub: PubSub | None = None

    @property
    def is_open(self) -> bool:
        """Whether wake-ups can arrive now."""
        return self._pubsub is not None

    async def wait(self, timeout_s: float) -> dict[str, Any] | None:
        """The next message, or None after `timeout_s` (or at once after a broken connection was mended)."""
        try:
            if self._pubsub is None:
                pubsub = self.redis.pubsub(ignore_subscribe_messages=True)
                await pubsub.subscribe(self.channel)
                self._pubsub = pubsub
                return None  # whatever was said before we listened is in PostgreSQL already
            message = await self._pubsub.get_message(timeout=timeout_s)
        except _TROUBLES:
            await self.close()
            await asyncio.sleep(timeout_s)
            return None
        if message is None or not isinstance(message.get("data"), str):
            return None
        try:
            payload = json.loads(message["data"])
        except ValueError:
            return None
        return payload if isinstance(payload, dict) else None

    async def close(self) -> None:
        """Leave the channel."""
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            try:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            except _TROUBLES:
                log.debug("streams_close_failed", channel=self.channel)


@dataclass(frozen=True)
class Streams:
    """One per process."""

    redis: Redis
    prefix: str = field(default="gp4u:")

    @classmethod
    def connect(cls, url: str) -> "Streams":
        """A client for `url`; nothing is dialled before the first use, and nothing waits over two seconds."""
        return cls(Redis.from_url(url, decode_responses=True, socket_connect_timeout=2.0, socket_timeout=2.0))

    async def wake(self, messages: Sequence[tuple[str, dict[str, Any]]]) -> bool:
        """Tell the listeners of each key. False when Valkey did not take them."""
        try:
            async with self.redis.pipeline(transaction=False) as pipeline:
                for key, payload in messages:
                    pipeline.publish(self.prefix + key, json.dumps(payload, separators=(",", ":")))
                await pipeline.execute()
        except _TROUBLES as error:
            log.debug("streams_wake_failed", error=str(error))
            return False
        return True

    @asynccontextmanager
    async def listen(self, key: str) -> AsyncIterator[Subscription]:
        """Wake-ups about `key` for as long as the block runs."""
        subscription = Subscription(self.redis, self.prefix + key)
        try:
            yield subscription
        finally:
            await subscription.close()

    async def remember(self, key: str, value: dict[str, Any], ttl_s: int) -> None:
        """Keep the newest `value` under `key` for a while."""
        try:
            await self.redis.set(self.prefix + key, json.dumps(value, separators=(",", ":")), ex=ttl_s)
        except _TROUBLES as error:
            log.debug("streams_remember_failed", error=str(error))

    async def recall(self, keys: Sequence[str]) -> list[dict[str, Any] | None]:
        """What was remembered under each key; None where there is nothing (any more)."""
        if not keys:
            return []
        try:
            found = await self.redis.mget([self.prefix + key for key in keys])
        except _TROUBLES:
            return [None] * len(keys)
        return [json.loads(value) if value else None for value in found]

    async def close(self) -> None:
        """Close the pool."""
        await self.redis.aclose()
