"""Hears what jobs say of themselves, on each host's loopback address, and writes it into the history."""

import json
import select
import socket
import threading
from dataclasses import dataclass, field

from tests.rig.history import History
from tests.rig.lab import Lab

PORT = 7007
BUFFER_BYTES = 8 << 20
DATAGRAM_BYTES_MAX = 4096


@dataclass
class Witness:
    """One thread that listens on all hosts. Records go to the history of the moment."""

    lab: Lab
    history: History
    _sockets: dict[int, tuple[socket.socket, str]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the ports."""
        for host in self.lab.hosts:
            with self.lab.inside(host):
                listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                listener.bind(("127.0.0.1", PORT))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            self._sockets[listener.fileno()] = (listener, host)
        self._thread = threading.Thread(target=self._listen, name="witness", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Hear what still lies in the buffers, then close."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
        for listener, _ in self._sockets.values():
            listener.close()

    def _listen(self) -> None:
        while True:
            ready, _, _ = select.select(list(self._sockets), [], [], 0.2)
            if not ready and self._stop.is_set():
                return
            for descriptor in ready:
                listener, host = self._sockets[descriptor]
                record = json.loads(listener.recv(DATAGRAM_BYTES_MAX))
                self.history.write("run", at=record.pop("at"), host=host, **record)
