"""The data folder: one place for all state, held by at most one supervisor."""

import fcntl
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gp4u_server.embedded.program import secret_file
from gp4u_server.supervisor.errors import AlreadyRunning, FolderUnusable

FORMAT = 1
FREE_BYTES_MIN = 1 << 30
"""Below this we do not start: PostgreSQL stops hard on a full disk, and recovery wants room too."""


@dataclass(frozen=True)
class DataFolder:
    """Paths inside the data folder, and its state files."""

    root: Path

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def demo_socket(self) -> Path:
        """Control socket of the fleet. A Unix socket's path may have 107 bytes, and a data folder may lie deep."""
        path = self.run / "demo.sock"
        if len(os.fsencode(path)) < 100:
            return path
        short = Path(tempfile.gettempdir()) / f"gp4u-{sha256(os.fsencode(self.root)).hexdigest()[:16]}"
        short.mkdir(mode=0o700, exist_ok=True)
        if short.stat().st_uid != os.geteuid():
            raise FolderUnusable(
                f"{short} belongs to another user. Choose a data folder with a shorter path."
            )
        return short / "demo.sock"

    @property
    def environment(self) -> Path:
        """Addresses and secrets of what runs now, for `gp4u admin` on the same machine."""
        return self.run / "environment.json"

    @property
    def marker(self) -> Path:
        return self.root / "gp4u.json"

    def inspect(self) -> None:
        """Read-only checks before anything is written here. Raises FolderUnusable for a folder that is not ours."""
        try:
            self._check_owner()
            self._check_marker()
        except OSError as error:
            raise _unusable(self.root, error) from error

    def prepare(self, *, free_bytes_min: int = FREE_BYTES_MIN) -> None:
        """Make what is missing. Raises FolderUnusable on a full disk, without permission, or with damaged secrets."""
        try:
            self._check_space(free_bytes_min)
            if not self.marker.exists():
                self.write_marker({"format": FORMAT, "made_by": version("gp4u-server"), "demo": False})
            for folder in (self.secrets, self.run, self.logs, self.objects):
                folder.mkdir(mode=0o700, exist_ok=True)
            secret_file(self.secrets / "signing.pem", _new_signing_key)
            master_key = secret_file(self.secrets / "master.key", lambda: os.urandom(32))
        except OSError as error:
            raise _unusable(self.root, error) from error
        if len(master_key) != 32:
            raise FolderUnusable(
                f"{self.secrets / 'master.key'} is damaged: it must hold 32 bytes. Without it the stored checkpoints "
                "cannot be read. Restore it from a backup, or delete the data folder to start anew."
            )

    def _check_owner(self) -> None:
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise FolderUnusable(f"{self.root} is a file. Choose a folder with --data.")
        owner = self.root.stat().st_uid
        if owner != os.geteuid():
            raise FolderUnusable(
                f"The data folder {self.root} belongs to user {owner}, and you are user {os.geteuid()}. "
                "Run gp4u as that user, or choose another folder with --data."
            )

    def _check_marker(self) -> None:
        if not self.marker.exists():
            if self.root.exists() and any(entry.name != "run" for entry in self.root.iterdir()):
                raise FolderUnusable(
                    f"{self.root} is not empty and is not a data folder of GP4U ({self.marker.name} is missing). "
                    "Choose another folder with --data."
                )
            return
        marker = self.read_marker()
        if marker.get("format") != FORMAT:
            raise FolderUnusable(
                f"The data folder {self.root} has format {marker.get('format')}, made by GP4U "
                f"{marker.get('made_by', 'of an unknown version')}; this is GP4U {version('gp4u-server')} with format {FORMAT}. "
                "Use the GP4U version that made it, or choose another folder with --data."
            )

    def _check_space(self, free_bytes_min: int) -> None:
        free_bytes = shutil.disk_usage(self.root).free
        if free_bytes < free_bytes_min:
            raise FolderUnusable(
                f"The disk of {self.root} has {free_bytes >> 20} MiB free, and GP4U does not start with less than "
                f"{free_bytes_min >> 20} MiB. Free some space, or choose a folder on another disk with --data."
            )

    def read_marker(self) -> dict[str, Any]:
        """The folder's own description. Raises FolderUnusable when it is damaged."""
        try:
            marker = json.loads(self.marker.read_text())
        except (OSError, ValueError):
            marker = None
        if not isinstance(marker, dict):
            raise FolderUnusable(
                f"{self.marker} is damaged. Restore the data folder from a backup, or delete {self.root} to start anew."
            )
        return marker

    def write_marker(self, marker: dict[str, Any]) -> None:
        """Replace the folder's description."""
        write_json(self.marker, marker)

    def make(self) -> None:
        """Make the folder, and the one in it that locks and notes need. Raises FolderUnusable."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.run.mkdir(mode=0o700, exist_ok=True)
            # A folder may exist and still take nothing: read-only, or full to the last byte.
            probe = self.run / f".probe.{os.getpid()}"
            probe.write_bytes(b"1")
            probe.unlink()
        except OSError as error:
            raise _unusable(self.root, error) from error

    def lock(self) -> int:
        """Take the folder for this process until it ends, however it ends. Raises AlreadyRunning."""
        self.make()
        descriptor = os.open(self.run / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            holder = self.supervisor_pid()
            status = self.read_status()
            where = (
                f" at {status['address']}" if status.get("pid") == holder and status.get("address") else ""
            )
            pid = f" (process {holder})" if holder else ""
            raise AlreadyRunning(
                f"GP4U is already running on {self.root}{where}{pid}. `gp4u status` shows it, `gp4u down` stops it; "
                "for a second one choose another --data and --port."
            ) from None
        # In the lock itself, so that nobody ever takes the process of an earlier start for the holder.
        os.pwrite(descriptor, f"{os.getpid():<20}".encode(), 0)
        return descriptor

    def supervisor_pid(self) -> int | None:
        """The process that took the lock last; None before it has said so. Ask `is_locked` whether it lives."""
        try:
            # Empty: a supervisor of an earlier version, which wrote it only into its status.
            return int((self.run / "supervisor.lock").read_text() or self.read_status()["pid"])
        except (OSError, ValueError, KeyError):
            return None

    def is_locked(self) -> bool:
        """Whether a supervisor holds this folder now."""
        try:
            descriptor = os.open(self.run / "supervisor.lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def read_status(self) -> dict[str, Any]:
        """What the supervisor wrote last; empty if there is nothing to read."""
        try:
            status = json.loads((self.run / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return status if isinstance(status, dict) else {}

    def write_status(self, status: dict[str, Any]) -> None:
        """Replace the status that `gp4u status` and `gp4u down` read."""
        write_json(self.run / "status.json", status)


def write_json(path: Path, document: dict[str, Any], mode: int = 0o644) -> None:
    """Replace `path` in one step: a reader sees the old document or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(json.dumps(document, indent=2) + "\n")
    temporary.rename(path)


def _unusable(root: Path, error: OSError) -> FolderUnusable:
    return FolderUnusable(
        f"The data folder {root} cannot be used: {error.strerror or error} ({error.filename}). "
        "Choose another one with --data, or correct what is wrong there."
    )


def _new_signing_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
