"""A small TCP proxy that a demo node's whole traffic goes through, and that can misbehave on command.

It serves as the agent's HTTP proxy (HTTP_PROXY), so whatever address the agent dials, the bytes pass here: plain
requests in absolute form are handed on as they are, `CONNECT` opens a tunnel. Both always lead to one upstream.

A real network loses packets; TCP turns a lost packet into a delay, and a dead link into silence. Modes:

    up         bytes pass
    cut        nothing passes in either direction; new connections open and then hear nothing. When healed, what was
               on its way arrives, as with a cable that is plugged in again
    slow       every byte arrives `delay_ms` later, in each direction
    lossy      each piece of a stream is lost with `loss_percent`, which stalls its direction for a retransmission time
               (200 ms, doubled with each further loss in a row); after five losses in a row the connection is reset
    poor    slow and lossy at once
    half_open  what the node sends is lost, what it is sent arrives
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

CHUNK_BYTES = 65_536
CHUNKS_IN_FLIGHT_MAX = 64
RETRANSMIT_FIRST_S = 0.2
LOSSES_IN_A_ROW_MAX = 5
HEADER_BYTES_MAX = 16_384


class Mode(StrEnum):
    UP = "up"
    CUT = "cut"
    SLOW = "slow"
    LOSSY = "lossy"
    POOR = "poor"
    HALF_OPEN = "half_open"


class ConnectionLost(Exception):
    """Too many losses in a row: the connection is reset."""


@dataclass
class Link:
    """The state of one node's link. `set` takes effect on open connections at once."""

    mode: Mode = Mode.UP
    delay_s: float = 0.0
    loss: float = 0.0
    chance: random.Random = field(default_factory=random.Random)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, mode: Mode, *, delay_ms: int = 0, loss_percent: float = 0.0) -> None:
        """Change the link."""
        self.mode, self.delay_s, self.loss = mode, delay_ms / 1000, loss_percent / 100
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def passage(self, *, outbound: bool) -> None:
        """Return when a piece may pass. `outbound` is what the node sends. Raises ConnectionLost."""
        losses = 0
        while True:
            blocked = self.mode is Mode.CUT or (self.mode is Mode.HALF_OPEN and outbound)
            if blocked:
                await self._changed.wait()
            elif self.mode in (Mode.LOSSY, Mode.POOR) and self.chance.random() < self.loss:
                losses += 1
                if losses >= LOSSES_IN_A_ROW_MAX:
                    raise ConnectionLost
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), RETRANSMIT_FIRST_S * 2 ** (losses - 1))
            else:
                return

    @property
    def latency_s(self) -> float:
        """How long a piece is on its way."""
        return self.delay_s if self.mode in (Mode.SLOW, Mode.POOR) else 0.0


@dataclass
class FaultProxy:
    """Listens on a loopback port and connects to `upstream`."""

    upstream_host: str
    upstream_port: int
    link: Link = field(default_factory=Link)
    port: int = 0
    _server: asyncio.Server | None = None
    _connections: set["asyncio.Task[None]"] = field(default_factory=set)

    async def start(self) -> None:
        """Open the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEADER_BYTES_MAX)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.read(CHUNK_BYTES)
            await asyncio.sleep(self.link.latency_s)
            await self.link.passage(outbound=True)
            tunnel = first.startswith(b"CONNECT ")
            while tunnel and b"\r\n\r\n" not in first and len(first) < HEADER_BYTES_MAX:
                first += await reader.read(CHUNK_BYTES)
            up_reader, up_writer = await asyncio.open_connection(self.upstream_host, self.upstream_port)
        except (OSError, ConnectionLost):
            _reset(writer)
            return
        except asyncio.CancelledError:
            _reset(writer)
            raise
        try:
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                first = first.partition(b"\r\n\r\n")[2]
            up_writer.write(first)
            await self._exchange(reader, writer, up_reader, up_writer)
        except (OSError, ConnectionLost):
            _reset(writer)
            _reset(up_writer)
        finally:
            writer.close()
            up_writer.close()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        """Both directions until the server has ended its side, or one direction fails."""
        outbound = asyncio.create_task(self._pump(reader, up_writer, outbound=True))
        inbound = asyncio.create_task(self._pump(up_reader, writer, outbound=False))
        try:
            await asyncio.wait({outbound, inbound}, return_when=asyncio.FIRST_COMPLETED)
            if outbound.done():
                outbound.result()  # the node has said its last word; the answer may still be on its way
            await inbound
        except* (OSError, ConnectionLost) as failures:
            raise ConnectionLost from failures
        finally:
            for direction in (outbound, inbound):
                direction.cancel()
            await asyncio.gather(outbound, inbound, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outbound: bool
    ) -> None:
        clock = asyncio.get_running_loop().time
        in_flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_IN_FLIGHT_MAX)

        async def take_in() -> None:
            while True:
                chunk = await reader.read(CHUNK_BYTES)
                await in_flight.put((clock() + self.link.latency_s, chunk))
                if not chunk:
                    return

        async def hand_on() -> None:
            while True:
                due, chunk = await in_flight.get()
                await asyncio.sleep(max(0.0, due - clock()))
                await self.link.passage(outbound=outbound)
                if not chunk:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()

        async with asyncio.TaskGroup() as both:
            both.create_task(take_in())
            both.create_task(hand_on())


def _reset(writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    if transport is not None:
        transport.abort()
