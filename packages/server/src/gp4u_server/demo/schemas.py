"""Models of the demo controls. They exist only with --demo."""

from datetime import datetime

from gp4u_protocol.job_spec import Strict
from pydantic import Field


class DemoNodeOut(Strict):
    name: str
    node_id: str
    owner: str
    region: str
    gpu_model: str
    gpus: int
    agent_running: bool
    link: str = Field(description="up, cut, slow, lossy, poor, half_open")
    job_ids: list[str]
    killed_at: datetime | None = Field(
        default=None, description="the instant of the last kill, on the server's clock"
    )


class DemoLinkIn(Strict):
    mode: str = Field(description="up, cut, slow, lossy, poor, half_open")
    delay_ms: int = Field(default=0, ge=0, le=60_000)
    loss_percent: float = Field(default=0, ge=0, le=100)


class DemoFaultIn(Strict):
    kind: str = Field(
        description="xid (the GPU falls off the bus), ecc (a memory error), hot, job_error (an error of the job's own)",
        max_length=20,
    )
    device: int = Field(default=0, ge=0, le=15, description="which GPU of the node")
    code: int | None = Field(default=None, ge=1, le=1000, description="another XID than the usual one")


class PlatformOut(Strict):
    """GET /platform: what every page needs to know once."""

    name: str
    version: str
    demo: bool
    currency: str
    owner_share_percent: int
    operator_share_percent: int
    heartbeat_ttl_s: float
