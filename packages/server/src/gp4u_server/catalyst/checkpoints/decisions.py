"""What a commit may name: pure. The service runs these under the job's row lock; the simulation runs them as they are."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class KnownPack:
    """A pack that was announced for the job. `stored`: a committed checkpoint has named it."""

    upload_id: str
    size_bytes: int
    stored: bool


@dataclass(frozen=True)
class CommitVerdict:
    """Why a commit is refused, in words (None: it is not), and which of its packs are new with it."""

    refusal: str | None
    fresh: list[str] = field(default_factory=list)


def not_stored(sizes: Mapping[str, int | None], named: Mapping[str, int]) -> int:
    """How many of the `named` packs (id → announced bytes) are not stored as announced; `sizes` is what the store says."""
    return sum(sizes.get(pack_id) != size_bytes for pack_id, size_bytes in named.items())


def judge_commit(upload_id: str, named: Mapping[str, int], known: Mapping[str, KnownPack]) -> CommitVerdict:
    """Whether the upload may commit a manifest over the `named` packs (id → bytes), given those that are `known`."""
    for pack_id, size_bytes in named.items():
        pack = known.get(pack_id)
        if pack is None or pack.size_bytes != size_bytes:
            return CommitVerdict(f"Pack {pack_id} was never announced for this job.")
        if not pack.stored and pack.upload_id != upload_id:
            return CommitVerdict(f"Pack {pack_id} belongs to an upload that was never finished.")
    return CommitVerdict(None, [pack_id for pack_id, pack in known.items() if pack.upload_id == upload_id])
