"""Output of one job on its way to the gateway: by offset, one chunk in flight, re-sent until acknowledged."""

import asyncio
import contextlib
from collections.abc import Callable

from gp4u_protocol.messages import LogAck, LogChunk

from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.shim.output import read_from

CHUNK_BYTES_MAX = 48 << 10
"""A chunk stays well below the frame limit even when every byte of it is escaped in JSON."""
LOOK_INTERVAL_S = 0.1
RESEND_AFTER_S = 3.0


class LogShipper:
    """Ships what the shim keeps. `send` may drop a chunk (no connection): it is sent again."""

    def __init__(
        self, folder: PlacementDir, placement_id: str, epoch: int, send: Callable[[LogChunk], None]
    ) -> None:
        self._folder = folder
        self._placement_id = placement_id
        self._epoch = epoch
        self._send = send
        document = folder.read(folder.path / "log.json") or {}
        self._offset = int(document.get("offset", 0))
        """The gateway has everything before this offset of the stream that it sees."""
        self._dropped = int(document.get("dropped", 0))
        """What that stream lacks: bytes the shim dropped before they were shipped, less the notes put in their place."""
        self._acknowledged = asyncio.Event()
        self.stopped = False

    def acknowledge(self, ack: LogAck) -> None:
        """The gateway says where to go on."""
        self._offset = ack.next_offset
        self._acknowledged.set()

    async def run(self) -> None:
        """Ship until cancelled."""
        while not self.stopped:
            if not await self._ship_one():
                await asyncio.sleep(LOOK_INTERVAL_S)

    async def finish(self, within_s: float) -> bool:
        """Ship the rest; False when it was not acknowledged in time. `run` must not run any more."""
        deadline = asyncio.get_running_loop().time() + within_s
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            try:
                if not await asyncio.wait_for(self._ship_one(), left):
                    return True
            except TimeoutError:
                break
        return False

    async def _ship_one(self) -> bool:
        """Send the next chunk and wait for its answer; False when there is nothing to send."""
        wanted = self._offset + self._dropped
        try:
            begin, piece = read_from(self._folder.log, wanted, CHUNK_BYTES_MAX)
        except OSError:  # the segment was dropped while we looked; next time it is another one
            return True
        if not piece:
            return False
        dropped = self._dropped
        if begin > wanted:
            note = f"\n[gp4u: {begin - wanted} bytes of output were dropped here]\n".encode()
            piece, dropped = note, begin - self._offset - len(note)
        end = self._offset + len(piece)
        self._acknowledged.clear()
        self._send(
            LogChunk(
                placement_id=self._placement_id,
                epoch=self._epoch,
                offset=self._offset,
                text=piece.decode("utf-8", "replace"),
            )
        )
        try:
            await asyncio.wait_for(self._acknowledged.wait(), RESEND_AFTER_S)
        except TimeoutError:
            return True
        if self._offset >= end:
            self._dropped = dropped
        await self._keep()
        await asyncio.sleep(
            LOOK_INTERVAL_S
        )  # bounds what one job can push through: about half a megabyte a second
        return True

    async def _keep(self) -> None:
        """Note how far we are: beside the event loop, because a busy disk may take seconds and a lease does not wait.

        Without the note (a full disk) a restarted agent sends again, and the gateway knows what it has.
        """
        note = {"offset": self._offset, "dropped": self._dropped}
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._folder.write, self._folder.path / "log.json", note)
