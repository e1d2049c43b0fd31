"""What the engine remembers over a restart of the agent: the newest manifest and the files' signatures.

Only a saving: without it the manifest is fetched and every file is read again. It is trusted only as far as it fits the
server's newest row, and the manifest is as sealed here as in the store.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.manifest import Manifest, SealedManifest, open_manifest
from gp4u_protocol.checkpoint.sealing import JobKeys

from gp4u_agent.checkpoint.collecting import Known
from gp4u_agent.checkpoint.walking import Signature

log = logging.getLogger(__name__)


class Memory:
    """Files `newest.manifest` and `newest.json` in `folder`."""

    def __init__(self, folder: Path, keys: JobKeys) -> None:
        self._manifest = folder / "newest.manifest"
        self._notes = folder / "newest.json"
        self._keys = keys

    def keep(
        self,
        checkpoint_id: str,
        sealed: SealedManifest,
        manifest: Manifest,
        signatures: Mapping[str, Signature],
    ) -> None:
        """Remember a committed checkpoint. Failing to is only logged: the checkpoint itself is safe."""
        notes = {
            "checkpoint_id": checkpoint_id,
            "signatures": {path: [s.inode, s.size, s.mtime_ns, s.ctime_ns] for path, s in signatures.items()},
        }
        try:
            self._manifest.parent.mkdir(parents=True, exist_ok=True)
            _replace(self._manifest, sealed.content)
            _replace(self._notes, json.dumps(notes).encode())
        except OSError as error:
            log.warning("the newest checkpoint could not be remembered: %s", error)

    def recall(self, newest: Mapping[str, Any]) -> Known | None:
        """What was remembered, when it is exactly the checkpoint `newest` (a row of the server)."""
        try:
            notes = json.loads(self._notes.read_bytes())
            if notes["checkpoint_id"] != newest["id"]:
                return None
            manifest = open_manifest(
                self._manifest.read_bytes(),
                self._keys,
                epoch=newest["epoch"],
                seq=newest["seq"],
                blake3_hex=newest["manifest_blake3"],
            )
            return Known(manifest, {path: Signature(*fields) for path, fields in notes["signatures"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, Damaged):
            return None


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
