"""`python -m gp4u_server.controller`."""

import asyncio
import signal

import structlog
import uvloop

from gp4u_server.bootstrap import build
from gp4u_server.controller.loops import control_loops
from gp4u_server.controller.runner import Runner
from gp4u_server.foundation.logs import configure_logs
from gp4u_server.kit.db import Database
from gp4u_server.settings import Settings

log = structlog.get_logger(__name__)

STOP_S_MAX = 3.0


async def run(settings: Settings) -> None:
    """Run every loop until SIGTERM or SIGINT. Stopping in the middle of a transaction only rolls it back."""
    platform = build(settings, process="controller")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with platform.running():
        loops = control_loops(platform)
        log.info("controller_started", loops=[each.name for each in loops])
        work = asyncio.create_task(Runner(platform.get(Database), loops).run())
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        work.cancel()
        # Bounded: Python 3.11's wait_for can swallow a cancellation that meets a result, and nothing here is worth
        # waiting for; an open transaction is rolled back when the process ends.
        await asyncio.wait({work}, timeout=STOP_S_MAX)


def main() -> None:
    """Entry point."""
    settings = Settings()
    configure_logs(settings.log_level, process="controller")
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
