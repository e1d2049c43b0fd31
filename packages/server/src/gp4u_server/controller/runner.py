"""Runs control loops for ever: at once when woken, at the latest after their interval, never twice at the same time."""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from gp4u_server.foundation.listening import notifications
from gp4u_server.kit.db import Database

log = structlog.get_logger(__name__)

FAILURE_PAUSE_S = 1.0
ROUNDS_AT_ONCE_MAX = 20
"""A loop that reports work is called again without waiting, this often at most."""


class ControlLoop(Protocol):
    """One control loop."""

    @property
    def name(self) -> str: ...

    @property
    def interval_s(self) -> float: ...

    async def run_once(self) -> int:
        """Do what is due; return how much it was."""
        ...


class Runner:
    """All loops of a controller."""

    def __init__(self, database: Database, loops: Sequence[ControlLoop]) -> None:
        self._database = database
        self._loops = loops
        self._wake = {loop.name: asyncio.Event() for loop in loops}
        self._by_channel: dict[str, list[asyncio.Event]] = {}
        for loop in loops:
            for channel in getattr(loop, "channels", ()):
                self._by_channel.setdefault(channel, []).append(self._wake[loop.name])

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._by_channel:
                group.create_task(self._listen())
            for loop in self._loops:
                group.create_task(self._drive(loop), name=loop.name)

    async def _listen(self) -> None:
        async for channel, _ in notifications(self._database, list(self._by_channel)):
            for event in self._by_channel.get(channel, []) if channel else self._wake.values():
                event.set()

    async def _drive(self, loop: ControlLoop) -> None:
        wake = self._wake[loop.name]
        while True:
            wake.clear()
            began = time.monotonic()
            try:
                for _ in range(ROUNDS_AT_ONCE_MAX):
                    if not await loop.run_once():
                        break
                    await asyncio.sleep(0)
            except Exception:
                log.exception("loop_failed", loop=loop.name)
                await asyncio.sleep(FAILURE_PAUSE_S)
                continue
            took = time.monotonic() - began
            if took > max(1.0, loop.interval_s):
                log.info("loop_slow", loop=loop.name, took_s=round(took, 3))
            try:
                async with asyncio.timeout(loop.interval_s):
                    await wake.wait()
            except TimeoutError:
                pass
