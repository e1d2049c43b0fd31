"""What one worker process has: an event loop and a wired platform, made after the fork and closed at its end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from celery.signals import worker_process_init, worker_process_shutdown

from gp4u_server.bootstrap import build
from gp4u_server.foundation.logs import configure_logs
from gp4u_server.foundation.platform import Platform
from gp4u_server.settings import Settings

Result = TypeVar("Result")


@dataclass
class Child:
    """The loop and the platform of this process."""

    runner: asyncio.Runner
    platform: Platform

    def close(self) -> None:
        """Close connections, then the loop."""
        self.runner.run(self.platform.close())
        self.runner.close()


class _Process:
    child: Child | None = None


def run(task: Callable[[Platform], Awaitable[Result]]) -> Result:
    """Run an asynchronous use case inside a synchronous task."""
    child = _child()

    async def with_platform() -> Result:
        return await task(child.platform)

    return child.runner.run(with_platform())


def _child() -> Child:
    if _Process.child is None:
        _Process.child = Child(asyncio.Runner(), build(Settings(), process="worker"))
    return _Process.child


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _start(**_signal: Any) -> None:
    # Nothing may be inherited over the fork: two processes would talk on one connection.
    _Process.child = None
    configure_logs(Settings().log_level, process="worker")
    _child()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _stop(**_signal: Any) -> None:
    if _Process.child is not None:
        _Process.child.close()
        _Process.child = None
