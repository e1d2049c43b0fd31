"""Response models of standbys, for agents."""

from gp4u_protocol.job_spec import Strict


class StandbyFolderOut(Strict):
    url: str
    size_bytes: int
    blake3: str


class StandbyDownloadOut(Strict):
    """Addresses of what is to be kept at hand. The key of the data is not among them."""

    standby_id: str
    job_id: str
    checkpoint_id: str | None
    epoch: int | None
    seq: int | None
    manifest_url: str | None
    manifest_blake3: str | None
    packs: dict[str, str]
    folder: StandbyFolderOut | None
