"""How a gateway that is told to end goes: nobody new is let in, and its agents are sent to the other gateways, not all at once.

An agent whose socket closes dials another gateway within a tenth of a second, long before its node would be suspect. Ten
thousand of them in one instant would wait for each other's handshakes there, some beyond their lease; so they are sent
away a few at a time, while the leases of those who are still here are renewed as always.
"""

import asyncio
from collections.abc import Awaitable, Callable
from socket import socket

import structlog
import uvicorn

from gp4u_server.gateway.hub import Hub

log = structlog.get_logger(__name__)

AGENTS_A_SECOND = 500
LEAVE_S_MAX = 8.0
"""A supervisor kills who takes longer than 15 s, and requests that run may take 3 more."""
SLICE_S = 0.1
GOING_CODE = 1012
"""WebSocket's "service restart"."""


def slices(agents: int) -> list[int]:
    """How many agents go in each tenth of a second: all of them in the time that there is."""
    if agents == 0:
        return []
    seconds = min(LEAVE_S_MAX, agents / AGENTS_A_SECOND)
    steps = max(1, round(seconds / SLICE_S))
    each, rest = divmod(agents, steps)
    return [each + (step < rest) for step in range(steps)]


async def leave(hub: Hub, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> int:
    """Send every agent elsewhere; answers how many there were."""
    hub.leaving = True
    left = 0
    # Again for those whose handshake was under way.
    while here := [each for each in hub.connections.values() if not each.closing]:
        for count in slices(len(here)):
            for connection in here[:count]:
                connection.close(GOING_CODE, "this gateway ends; dial another one")
            del here[:count]
            left += count
            await pause(SLICE_S)
    log.info("gateway_left", agents=left)
    return left


class LeavingServer(uvicorn.Server):
    """A server that says goodbye before it closes."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Refuse new connections at once, so that a proxy before us asks the next gateway; then leave, then close."""
        for server in self.servers:
            server.close()
        await leave(self._hub)
        await super().shutdown(sockets)
