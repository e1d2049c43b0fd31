"""A wired platform, as entry points and the app factory hold it. `bootstrap.build` makes it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import structlog

from gp4u_server.settings import Settings

log = structlog.get_logger(__name__)
Service = TypeVar("Service")

RESTART_DELAY_S = 1.0


@dataclass
class Platform:
    """Services by type, what must answer for the platform to be ready, and what runs beside the requests."""

    settings: Settings
    provided: dict[type[Any], Any] = field(default_factory=dict)
    probes: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    background: dict[str, Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=dict)
    closers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    def provide(self, service: object, *, as_type: type[Any] | None = None) -> None:
        """Make `service` known under its own type, or under `as_type`."""
        self.provided[as_type or type(service)] = service

    def get(self, service_type: type[Service]) -> Service:
        """The instance of `service_type`. Raises KeyError when bootstrap has none."""
        return cast("Service", self.provided[service_type])

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Platform"]:
        """Background tasks run inside the block; behind it everything is closed, the last opened first."""
        tasks = [asyncio.create_task(_kept_alive(name, run)) for name, run in self.background.items()]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.close()

    async def close(self) -> None:
        """Close what was opened. Every closer runs, whatever the others do."""
        for closer in reversed(self.closers):
            try:
                await closer()
            except Exception:
                log.exception("closing failed")


async def _kept_alive(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await run()
        except Exception:
            log.exception("background task failed; it is started again", task=name)
        await asyncio.sleep(RESTART_DELAY_S)
