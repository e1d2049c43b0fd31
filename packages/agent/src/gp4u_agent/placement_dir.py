"""The folder of one placement on this machine: what agent and shim leave for each other. Standard library only."""

import contextlib
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gp4u_agent.runtime import processes


@dataclass(frozen=True)
class PlacementDir:
    """Paths below one placement's folder, and the few ways they are read and written."""

    path: Path

    @property
    def job(self) -> Path:
        """What the job sees as its working directory."""
        return self.path / "job"

    @property
    def control(self) -> Path:
        """Commit requests and the progress file."""
        return self.path / "control"

    @property
    def dump(self) -> Path:
        """The whole job as it was dumped, or as it is to be restored. Outside the job's reach."""
        return self.path / "dump"

    @property
    def cold(self) -> Path:
        """Files of the checkpoint that arrive after the start (see `checkpoint.arriving`). Outside the job's reach."""
        return self.path / "cold"

    @property
    def log(self) -> Path:
        """Output segments, each named by the offset of its first byte."""
        return self.path / "log"

    @property
    def shim_order(self) -> Path:
        """What the shim shall run (see `shim.loop`)."""
        return self.path / "shim.json"

    @property
    def shim_identity(self) -> Path:
        """Which process the shim is, so that a later process with its number is not taken for it."""
        return self.path / "shim.pid"

    @property
    def exit(self) -> Path:
        """How the job ended, written by the shim before it goes."""
        return self.path / "exit.json"

    @property
    def placement(self) -> Path:
        """The placement's spec as the agent got it, and where it stands; no keys."""
        return self.path / "placement.json"

    def read(self, path: Path) -> dict[str, Any] | None:
        """A JSON object, or None when the file is not there or not whole."""
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    def write(self, path: Path, document: dict[str, Any]) -> None:
        """Replace the file at once and durably: a reader or a crash sees the old or the new, never half."""
        temporary = path.with_suffix(".new")
        with open(temporary, "wb") as file:
            file.write(json.dumps(document).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def shim_alive(self) -> bool:
        """Whether this placement's shim runs now."""
        identity = self.read(self.shim_identity)
        if identity is None or identity.get("boot_id") != boot_id():
            return False
        return processes.alive(int(identity["pid"]), int(identity["started_ticks"]))

    @contextlib.contextmanager
    def socket_address(self) -> Any:
        """An address of the shim's socket that is short enough for the kernel (108 bytes), however deep the folder."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{fd}/shim.sock"
        finally:
            os.close(fd)

    def listen(self) -> socket.socket:
        """The shim's end."""
        (self.path / "shim.sock").unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with self.socket_address() as address:
            listener.bind(address)
        os.chmod(self.path / "shim.sock", 0o600)
        listener.listen(4)
        return listener


def boot_id() -> str:
    """Names this boot of this machine: process numbers mean nothing beyond it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
