"""Rate limits: fixed windows counted in Valkey, or in this process while Valkey is away.

A limit never turns into an outage: when Valkey does not answer, each process counts for itself and asks Valkey again
a little later. Then N processes together allow up to N times the limit, which for a short while is the lesser evil.
"""

import time
from dataclasses import dataclass, field

import structlog
from fastapi import Request
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.errors import StorageError
from redis.asyncio import ConnectionPool

from gp4u_server.kit.errors import DomainError, Kind

log = structlog.get_logger(__name__)

# Longer than a loaded machine needs for an answer; a Valkey that hangs holds a request up once in `ASK_VALKEY_AGAIN_S`.
VALKEY_PATIENCE_S = 1.0
ASK_VALKEY_AGAIN_S = 5.0


class TooManyRequests(DomainError):
    """Over a limit in rate. `retry_after_s` is in the document, and in the header Retry-After."""

    code = "too_many_requests"
    kind = Kind.TOO_MANY


@dataclass(frozen=True)
class Limit:
    """At most `amount` uses in each window of `window_s` seconds. `name` keeps counters apart."""

    name: str
    amount: int
    window_s: int = 60


@dataclass(frozen=True)
class Standing:
    """Where a counter stands after a use."""

    limit: int
    remaining: int
    reset_after_s: int
    allowed: bool


@dataclass
class RateLimiter:
    """Counts uses. One per process."""

    shared: Storage
    local: Storage = field(default_factory=MemoryStorage)
    pool: ConnectionPool | None = None
    _local_until: float = 0.0

    @classmethod
    def on_valkey(cls, url: str, patience_s: float = VALKEY_PATIENCE_S) -> "RateLimiter":
        """Counters at `url` (`redis://…` or `unix://…`). No connection is made before the first use.
        What does not answer within `patience_s` seconds is away."""
        pool = ConnectionPool.from_url(url, socket_timeout=patience_s, socket_connect_timeout=patience_s)
        storage = RedisStorage(
            # With a pool given, the address here is only parsed.
            "async+redis://pool:6379",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix="gp4u:limit",
            connection_pool=pool,  # type: ignore[arg-type]
        )
        return cls(storage, pool=pool)

    async def hit(self, limit: Limit, subject: str) -> Standing:
        """Count one use by `subject`."""
        window, elapsed_s = divmod(time.time(), limit.window_s)
        count = await self._increment(_key(limit, subject, window), limit.window_s)
        return Standing(
            limit=limit.amount,
            remaining=max(0, limit.amount - count),
            reset_after_s=max(1, round(limit.window_s - elapsed_s)),
            allowed=count <= limit.amount,
        )

    async def require(self, limit: Limit, subject: str) -> Standing:
        """Count one use and raise TooManyRequests when it is one too many."""
        standing = await self.hit(limit, subject)
        if not standing.allowed:
            raise self.refusal(standing)
        return standing

    def refusal(self, standing: Standing) -> TooManyRequests:
        """What to raise for a use that was one too many."""
        wait_s = standing.reset_after_s
        return TooManyRequests(f"Too many requests; try again in {wait_s} s.", retry_after_s=wait_s)

    async def forget(self, limit: Limit, subject: str) -> None:
        """Set the counter of the present window back to nothing."""
        key = _key(limit, subject, time.time() // limit.window_s)
        await self.local.clear(key)
        if time.monotonic() >= self._local_until:
            try:
                await self.shared.clear(key)
            except (StorageError, OSError) as error:
                self._count_here(error)

    async def close(self) -> None:
        """Close the connections to Valkey."""
        if self.pool is not None:
            await self.pool.disconnect()

    async def _increment(self, key: str, window_s: int) -> int:
        if time.monotonic() >= self._local_until:
            try:
                return await self.shared.incr(key, window_s)
            except (StorageError, OSError) as error:
                self._count_here(error)
        return await self.local.incr(key, window_s)

    def _count_here(self, error: Exception) -> None:
        self._local_until = time.monotonic() + ASK_VALKEY_AGAIN_S
        log.warning("rate limits are counted in this process: Valkey is away", error=type(error).__name__)


def client_address(request: Request) -> str:
    """The caller's address for counting: an IPv6 caller owns its whole /64. Proxies were resolved by the server."""
    host = request.client.host if request.client else "local"
    if ":" not in host:
        return host
    groups = host.partition("%")[0].split("::")[0].split(":")
    return ":".join(groups[:4]) + "::/64"


def _key(limit: Limit, subject: str, window: float) -> str:
    return f"{limit.name}:{subject}:{int(window)}"
