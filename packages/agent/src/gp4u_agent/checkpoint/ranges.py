"""Ranged reads of signed addresses on plain sockets, for threads: on the event loop a restore would be bound by one core."""

import http.client
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gp4u_agent.checkpoint.connections import (
    ERROR_BYTES_MAX,
    Connections,
    Origin,
    no_answer,
    place,
    reaches,
    refusal,
)

READERS = 8


class RangeReader:
    """Keeps connections open between reads. Its threads are its own: a restore must not use up everybody's."""

    def __init__(self, tls: Callable[[], ssl.SSLContext], *, timeout_s: float) -> None:
        self._connections = Connections(tls, timeout_s=timeout_s)
        self.threads = ThreadPoolExecutor(READERS, thread_name_prefix="range")

    def close(self) -> None:
        """Close what is idle; reads that are under way end by themselves."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    @staticmethod
    def reaches(url: str) -> bool:
        """Whether a whole address is reached without a proxy."""
        return reaches(url)

    def read(self, url: str, start: int, end: int) -> bytearray:
        """Bytes `start` to `end` (exclusive) of a whole address. Blocks. Raises HttpFailure.

        An object that ends earlier is handed over as it is: whoever asked knows how long it must be.
        """
        origin, target = place(url)
        kept = self._connections.idle(origin)
        if kept is not None:
            try:
                return self._read(kept, origin, target, start, end)
            except (http.client.HTTPException, OSError):
                kept.close()  # idle too long for the other side; a fresh connection tells whether it is there
        fresh = self._connections.fresh(origin)
        try:
            return self._read(fresh, origin, target, start, end)
        except (http.client.HTTPException, OSError) as error:
            fresh.close()
            raise no_answer(error) from error

    def _read(
        self, connection: http.client.HTTPConnection, origin: Origin, target: str, start: int, end: int
    ) -> bytearray:
        connection.request("GET", target, headers={"Range": f"bytes={start}-{end - 1}"})
        answer = connection.getresponse()
        if answer.status >= 300:
            body = answer.read(ERROR_BYTES_MAX)
            connection.close()
            raise refusal(answer.status, body)
        skip = start if answer.status == 200 else 0  # a store that does not know ranges sends everything
        while skip > 0:
            passed = len(answer.read(min(skip, 1 << 20)))
            if passed == 0:
                break
            skip -= passed
        room = bytearray(end - start)
        view, got = memoryview(room), 0
        while got < len(room):
            count = answer.readinto(view[got:])
            if count == 0:
                break
            got += count
        view.release()
        if got < len(room) and answer.length:  # it broke off: trouble on the way, not a short object
            raise http.client.IncompleteRead(b"", answer.length)
        del room[got:]
        self._connections.keep(origin, connection, answer)
        return room
