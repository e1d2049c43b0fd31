"""Request and response models of nodes and their enrolment."""

from datetime import datetime

from gp4u_protocol.job_spec import Strict
from gp4u_protocol.messages import NodeFacts
from pydantic import AwareDatetime, Field

from gp4u_server.nodes.types import Duty, Liveness, NodeStatus, WindowState


class EnrolmentTokenIn(Strict):
    region: str = Field(min_length=2, max_length=32, pattern=r"^[a-z0-9-]+$")
    node_name: str | None = Field(default=None, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")


class EnrolmentTokenOut(Strict):
    token: str = Field(description="shown once; good for one join within 10 minutes")
    expires_at: datetime
    command: str = Field(description="what to type on the machine")


class JoinIn(Strict):
    """POST /agent/join: the agent's first words. Proof of possession: signature over join_bytes(token, public_key)."""

    token: str = Field(max_length=200)
    public_key: str = Field(description="base64 of the raw Ed25519 public key", max_length=64)
    signature: str = Field(max_length=128)
    name: str | None = Field(default=None, max_length=63)
    facts: NodeFacts


class JoinOut(Strict):
    node_id: str
    name: str
    gateway_urls: list[str] = Field(description="WebSocket addresses to dial, whichever answers")
    api_urls: list[str] = Field(default=[], description="addresses that serve this API beside the one asked")


class DrainIn(Strict):
    """POST /nodes/{id}/drain."""

    reason: str | None = Field(
        default=None, min_length=1, max_length=200, description="a sentence for the renters whose jobs move"
    )
    within_s: int | None = Field(
        default=None, ge=0, le=2_592_000, description="the node may be switched off after so many seconds"
    )


class MaintenanceIn(Strict):
    """POST /nodes/{id}/maintenance."""

    starts_at: AwareDatetime
    duration_s: int = Field(ge=60, le=2_592_000)
    reason: str | None = Field(
        default=None, min_length=1, max_length=200, description="a sentence for the renters whose jobs move"
    )


class WindowOut(Strict):
    """A maintenance window. Jobs leave before `starts_at`; at `ends_at` the node is back in service by itself."""

    id: str
    starts_at: datetime
    ends_at: datetime
    reason: str | None
    state: WindowState


class DeviceOut(Strict):
    id: str
    uuid: str
    model: str
    vram_gb: int
    simulated: bool
    in_use: bool
    fault: str | None = Field(
        default=None, description="why it is out of the offer; jobs on the node's other GPUs run on"
    )
    back_at: datetime | None = Field(
        default=None, description="it is there again, and offered from then on unless it fails within"
    )


class NodeOut(Strict):
    id: str
    name: str
    owner_id: str
    region: str
    status: NodeStatus
    findings: list[str] = Field(default=[], description="why a pending node is not verified yet")
    liveness: Liveness
    duty: Duty = Field(default=Duty.IN_SERVICE, description="whether the node takes jobs")
    state: str = Field(
        default="",
        description="liveness and duty in one word: offline, online, suspect, lost, draining, maintenance, quarantined",
    )
    duty_reason: str | None = None
    duty_since: datetime | None = None
    drain_deadline_at: datetime | None = None
    quarantined_until: datetime | None = None
    maintenance_until: datetime | None = Field(
        default=None, description="it is back in service by itself then: a maintenance window's end"
    )
    windows: list[WindowOut] = Field(default=[], description="planned and active maintenance windows")
    in_pool: bool = Field(
        default=False, description="it takes only jobs that lost their node, before the market"
    )
    simulated: bool
    cpus: int
    memory_gb: int
    cpu_model: str
    runtimes: dict[str, str]
    devices: list[DeviceOut]
    reliability: float = Field(description="probability of surviving 24 h, Bayesian mean")
    reliability_low: float = Field(default=0.0, description="lower end of its 90 % interval")
    reliability_high: float = Field(default=1.0, description="upper end of its 90 % interval")
    uptime: float | None = Field(
        default=None, description="share of the time it was meant to be there; null when it was never there"
    )
    seen_s: float = Field(default=0.0, description="time online and time lost: what these figures rest on")
    record: str = Field(
        default="", description='uptime and sample size in words, such as "99.1 %, 41 days seen"'
    )
    losses: int = Field(description="times its lease ran out, whatever the cause")
    host_losses: int = Field(default=0, description="of these, attributed to its hardware or software")
    network_losses: int = Field(default=0, description="of these, attributed to its network")
    lease_ttl_s: float | None = Field(
        default=None, description="how long its leases last: silent for longer, its jobs move"
    )
    lease_ttl_why: str | None = Field(
        default=None, description="why longer than on a good link; null when they are not"
    )
    watched_reason: str | None = Field(
        default=None,
        description="it showed a sign of failing together with too many others: it stays in service until an admin has looked",
    )
    online_s: float
    last_seen_at: datetime | None
    enrolled_at: datetime
    running_jobs: int
