"""Request and response models of checkpoints: first as renters see them, then the agent's."""

from datetime import datetime
from typing import Annotated, Literal

from gp4u_protocol.checkpoint.limits import MANIFEST_BYTES_MAX, PACK_BYTES_MAX, PACKS_A_CALL_MAX, PACKS_MAX
from gp4u_protocol.job_spec import Strict
from gp4u_protocol.transparent import TransparentFacts
from pydantic import Field, StringConstraints

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PackId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class CheckpointOut(Strict):
    id: str
    job_id: str
    epoch: int
    seq: int
    committed_at: datetime
    files: int
    size_bytes: int = Field(description="of the files")
    stored_bytes: int = Field(description="newly stored for this checkpoint")
    step: int | None
    trigger: str = Field(description="job, interval, final")
    node_name: str
    damaged_at: datetime | None = Field(
        default=None, description="when a node first failed to verify it; an older one was used then"
    )
    pinned_at: datetime | None = Field(
        default=None, description="since when it is kept whatever the rule says"
    )
    transparent: bool = Field(
        default=False, description="it is a dump of the whole job, memory and all, not its checkpoint folder"
    )


class CheckpointDownloadOut(Strict):
    """Everything needed to read a checkpoint back. Addresses live for 15 minutes; those beginning with `/` are ours."""

    id: str
    job_id: str
    epoch: int
    seq: int
    data_key: str = Field(
        description="base64, 32 bytes; opens every checkpoint of this job: keep it to yourself"
    )
    manifest_url: str
    manifest_blake3: str
    packs: dict[str, str] = Field(description="pack id → address")


class UploadIn(Strict):
    size_bytes: int = Field(ge=1, le=1 << 30)
    blake3: Digest


class UploadOut(Strict):
    """PUT the tar.zst to `put_url` unless it is already there (`put_url` null)."""

    id: str
    put_url: str | None
    headers: dict[str, str] = {}


# --- the agent's side ------------------------------------------------------------------------------------


class FenceIn(Strict):
    """Every call of an agent names its placement and epoch; 409 `stale_epoch` means: kill the job."""

    placement_id: Id
    epoch: int = Field(ge=1, lt=1 << 62)


class OpenedOut(Strict):
    upload_id: str
    seq: int


class PackIn(Strict):
    id: PackId
    size_bytes: int = Field(ge=1, le=PACK_BYTES_MAX)


class PacksIn(FenceIn):
    upload_id: Id
    packs: list[PackIn] = Field(min_length=1, max_length=PACKS_A_CALL_MAX)


class AddressOut(Strict):
    """PUT the bytes to `url` with exactly `headers`. 412 means that they are there already."""

    url: str
    headers: dict[str, str]


class PackAddressOut(AddressOut):
    id: str


class PackAddressesOut(Strict):
    packs: list[PackAddressOut]


class ManifestIn(FenceIn):
    upload_id: Id
    blake3: Digest
    size_bytes: int = Field(ge=1, le=MANIFEST_BYTES_MAX)


class PaceIn(Strict):
    """What the node measured: seconds that a checkpoint costs, and the interval that follows from it."""

    every_s: float = Field(gt=0, le=86_400)
    cost_s: float = Field(ge=0, le=86_400)


class CommitIn(ManifestIn):
    packs: list[PackIn] = Field(max_length=PACKS_MAX)
    files: int = Field(ge=0, lt=1 << 31)
    content_bytes: int = Field(ge=0, lt=1 << 62)
    stored_bytes: int = Field(ge=0, lt=1 << 62, description="information only; we count ourselves")
    step: int | None = Field(default=None, ge=0, lt=1 << 62)
    trigger: Literal["job", "interval", "final"]
    pace: PaceIn | None = None
    transparent: TransparentFacts | None = Field(
        default=None, description="of a dump of the whole job: what its node is, for who restores it"
    )


class CommittedOut(Strict):
    id: str
    epoch: int
    seq: int
    committed_at: datetime


class DumpOut(Strict):
    """Whose signature a dump of the whole job must bear to be imported."""

    signed_by: str = Field(description="base64 of the raw Ed25519 public key of the node that made it")


class RestorePointOut(Strict):
    id: str
    epoch: int
    seq: int
    manifest_blake3: str
    step: int | None
    origin_job_id: str | None = Field(
        default=None, description="whose it is, when the job was forked from it"
    )
    transparent: DumpOut | None = Field(default=None, description="of a dump of the whole job")
    damaged: bool = Field(
        default=False, description="a node found it so: read whole, before the job starts, or passed over"
    )


class RestorePointsOut(Strict):
    items: list[RestorePointOut] = Field(description="by (epoch, seq), newest first")


class OriginOut(Strict):
    """The job that a fork begins with. Its key is handed out only until the fork has a checkpoint of its own."""

    job_id: str
    data_key: str = Field(description="base64, 32 bytes")


class AgentDownloadOut(Strict):
    id: str
    epoch: int
    seq: int
    manifest_url: str
    manifest_blake3: str
    packs: dict[str, str]
    origin: OriginOut | None = None


class DamageIn(FenceIn):
    detail: str = Field(max_length=500)


class AgentUploadOut(Strict):
    """The folder of a job: GET `url`, check length and BLAKE3, unpack."""

    url: str
    size_bytes: int
    blake3: str
