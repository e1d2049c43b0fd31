"""Response models of checkpoints, as renters see them."""

from datetime import datetime

from gp4u_protocol.job_spec import Strict
from pydantic import Field


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


class UploadIn(Strict):
    size_bytes: int = Field(ge=1, le=1 << 30)
    blake3: str = Field(pattern=r"^[0-9a-f]{64}$")


class UploadOut(Strict):
    """PUT the tar.zst to `put_url` unless it is already there (`put_url` null)."""

    id: str
    put_url: str | None
    headers: dict[str, str] = {}
