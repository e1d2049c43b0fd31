"""What a node keeps for one job that it stands by for. Everything of checkpoints is ciphertext; no key is ever here.

    <job>/packs/<pack id>          as in the store
    <job>/manifests/<checkpoint>   sealed
    <job>/job/                     the folder sent with the job, unpacked
    <job>/held.json                which checkpoint is complete, and whether the folder is

A pack is written beside its place and renamed into it, and `held.json` is written after everything it speaks of. A crash
leaves less than was there, never something half. Whether bytes are right is found out by who has the key: a restore
verifies every chunk, and fetches again what does not open.
"""

import contextlib
import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from gp4u_protocol.messages import RestorePoint
from pydantic import ValidationError

from gp4u_agent.job_process import remove_tree

NAME = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


@dataclass(frozen=True)
class StandbyStore:
    """The folder of one job. Blocking; the restorer's port `LocalPacks`."""

    path: Path

    def create(self) -> None:
        """Make the folders."""
        for folder in (self.path, self._packs, self._manifests):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def _packs(self) -> Path:
        return self.path / "packs"

    @property
    def _manifests(self) -> Path:
        return self.path / "manifests"

    @property
    def job_folder(self) -> Path:
        """Where the folder sent with the job is unpacked."""
        return self.path / "job"

    # --- what is here --------------------------------------------------------------------------------------

    def held(self) -> RestorePoint | None:
        """The checkpoint that was complete when it was last written down, if all its packs are still here."""
        try:
            document = json.loads((self.path / "held.json").read_bytes())
            point = RestorePoint.model_validate(document["checkpoint"])
            here = self.packs()
            return point if all(pack in here for pack in document["packs"]) else None
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return None

    def note_held(self, point: RestorePoint, packs: Collection[str]) -> None:
        """All of this checkpoint is here. What no checkpoint needs any more goes."""
        document = {"checkpoint": point.model_dump(mode="json"), "packs": sorted(packs)}
        self._write(self.path / "held.json", json.dumps(document).encode())
        for pack in self.packs() - set(packs):
            (self._packs / pack).unlink(missing_ok=True)
        for manifest in self._manifests.iterdir():
            if manifest.name != point.checkpoint_id:
                manifest.unlink(missing_ok=True)

    def packs(self) -> set[str]:
        """Ids of the packs that are here, whole."""
        with contextlib.suppress(OSError):
            return {entry.name for entry in os.scandir(self._packs) if "." not in entry.name}
        return set()

    def bytes_held(self) -> int:
        """What the packs take on disk."""
        with contextlib.suppress(OSError):
            return sum(entry.stat().st_size for entry in os.scandir(self._packs))
        return 0

    def put_pack(self, pack_id: str, content: bytes | bytearray) -> None:
        """Keep a pack."""
        assert NAME.match(pack_id)
        self._write(self._packs / pack_id, content)

    def put_manifest(self, checkpoint_id: str, content: bytes | bytearray) -> None:
        """Keep a sealed manifest."""
        assert NAME.match(checkpoint_id)
        self._write(self._manifests / checkpoint_id, content)

    @staticmethod
    def _write(path: Path, content: bytes | bytearray) -> None:
        temporary = path.with_name(f"{path.name}.part")
        temporary.write_bytes(content)
        os.replace(temporary, path)

    # --- for a restore ---------------------------------------------------------------------------------------

    def manifest(self, checkpoint_id: str) -> bytes | None:
        """A sealed manifest; None when it is not here."""
        with contextlib.suppress(OSError):
            return (self._manifests / checkpoint_id).read_bytes()
        return None

    def read(self, pack_id: str, start: int, end: int) -> bytes | None:
        """Bytes `start` to `end` (exclusive) of a pack; None when they are not all here."""
        try:
            descriptor = os.open(self._packs / pack_id, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            content = os.pread(descriptor, end - start, start)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return content if len(content) == end - start else None

    def distrust(self, pack_id: str) -> None:
        """A pack did not verify: it is read from the store instead."""
        with contextlib.suppress(OSError):
            (self._packs / pack_id).unlink()

    def hand_over_job_folder(self, target: Path) -> bool:
        """Move the unpacked folder to where the job runs (not there yet). False: it is not here."""
        try:
            os.rename(self.job_folder, target)
        except OSError:
            return False
        os.chmod(target, 0o755)  # noqa: S103 - the job reads it, whoever it runs as
        return True

    def remove(self) -> None:
        """All of it."""
        remove_tree(self.path)
