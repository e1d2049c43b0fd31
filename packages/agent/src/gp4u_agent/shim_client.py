"""The agent's side of the shim: start one, find one again, speak with it."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from gp4u_agent.placement_dir import PlacementDir

LIFELINE_VARIABLE = "GP4U_LIFELINE_FD"
START_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 5.0
LINE_BYTES_MAX = 1 << 18


class ShimGone(Exception):
    """There is no shim, or it does not answer."""


async def launch(folder: PlacementDir) -> None:
    """Start the shim of this folder, apart from us. Raises ShimGone."""
    lifeline = os.environ.get(LIFELINE_VARIABLE)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gp4u_agent.shim",
        str(folder.path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=(int(lifeline),) if lifeline else (),
    )
    _, said = await asyncio.wait_for(process.communicate(), START_TIMEOUT_S)
    if process.returncode != 0:
        raise ShimGone(f"the shim did not start: {said.decode('utf-8', 'replace')[-400:]}")
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
    while not folder.shim_alive():
        if asyncio.get_running_loop().time() > deadline:
            raise ShimGone(f"the shim did not come up: {_errors(folder)}")
        await asyncio.sleep(0.005)


class ShimClient:
    """One connection to one shim. `on_status` hears every status, asked or not."""

    def __init__(self, folder: PlacementDir, on_status: Callable[[dict[str, Any]], None]) -> None:
        self._folder = folder
        self._on_status = on_status
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self.gone = asyncio.Event()
        self.status: dict[str, Any] = {}

    async def connect(self) -> None:
        """Raises ShimGone."""
        try:
            with self._folder.socket_address() as address:
                reader, self._writer = await asyncio.open_unix_connection(address, limit=LINE_BYTES_MAX)
        except OSError as error:
            raise ShimGone(str(error)) from error
        self._listening = asyncio.create_task(self._listen(reader))

    async def ask(self, op: str, within_s: float = ANSWER_TIMEOUT_S, **arguments: Any) -> dict[str, Any]:
        """Give an order and wait for the status after it. Raises ShimGone."""
        self._heard.clear()
        self.tell(op, **arguments)
        heard, gone = asyncio.ensure_future(self._heard.wait()), asyncio.ensure_future(self.gone.wait())
        done, rest = await asyncio.wait({heard, gone}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        if heard not in done:
            raise ShimGone("the shim does not answer")
        return self.status

    def tell(self, op: str, **arguments: Any) -> None:
        """Give an order without waiting. Raises ShimGone."""
        if self._writer is None or self.gone.is_set():
            raise ShimGone("the shim is gone")
        self._writer.write(json.dumps({"op": op, **arguments}).encode() + b"\n")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self.status = json.loads(line)
                self._heard.set()
                self._on_status(self.status)
        except (OSError, ValueError):
            pass
        finally:
            self.gone.set()

    async def close(self) -> None:
        """Hang up; the shim goes on."""
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
        if self._writer is not None:
            self._writer.close()


def _errors(folder: PlacementDir) -> str:
    with contextlib.suppress(OSError):
        return (folder.path / "shim.err").read_text()[-400:]
    return ""
