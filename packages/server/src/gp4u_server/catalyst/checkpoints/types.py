"""Public views of checkpoints and what a commit says."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gp4u_server.catalyst.checkpoints.ports import SignedPut


@dataclass(frozen=True)
class Announced:
    """An object by its id and length: a pack."""

    id: str
    size_bytes: int


@dataclass(frozen=True)
class Commit:
    """What an agent says it has stored."""

    upload_id: str
    blake3: str
    manifest_bytes: int
    packs: tuple[Announced, ...]
    files: int
    content_bytes: int
    step: int | None
    trigger: str
    pace: dict[str, float] | None = None
    transparent: dict[str, Any] | None = None


@dataclass(frozen=True)
class OpenedUpload:
    """A snapshot that may begin to upload."""

    id: str
    job_id: str
    epoch: int
    seq: int


@dataclass(frozen=True)
class CheckpointView:
    """A committed checkpoint. `stored_bytes` were new with it."""

    id: str
    job_id: str
    epoch: int
    seq: int
    node_name: str
    manifest_key: str
    manifest_blake3: str
    manifest_bytes: int
    files: int
    size_bytes: int
    stored_bytes: int
    step: int | None
    trigger: str
    committed_at: datetime
    damaged_at: datetime | None
    pinned_at: datetime | None = None
    transparent: dict[str, Any] | None = None
    pack_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Download:
    """Signed addresses of everything a checkpoint consists of."""

    checkpoint: CheckpointView
    manifest_url: str
    pack_urls: dict[str, str]


@dataclass(frozen=True)
class UploadView:
    """A renter's uploaded folder; `put` is None when the bytes are there."""

    id: str
    size_bytes: int
    blake3: str
    put: SignedPut | None = None


@dataclass(frozen=True)
class Condemned:
    """An object that is to be removed from the store. `size_bytes` 0: not known, and small."""

    key: str
    size_bytes: int
