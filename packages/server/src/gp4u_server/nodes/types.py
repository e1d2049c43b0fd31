"""States of nodes, and the frozen views that other modules get."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NodeStatus(StrEnum):
    """Whether the platform trusts the node's facts."""

    PENDING = "pending"
    VERIFIED = "verified"
    REMOVED = "removed"


class Liveness(StrEnum):
    """Whether the node's lease is alive."""

    OFFLINE = "offline"  # never connected, or left politely
    ONLINE = "online"
    SUSPECT = "suspect"  # beats are missing; its jobs freeze themselves
    LOST = "lost"  # its lease is over; its jobs move


class Duty(StrEnum):
    """Whether the node takes jobs: what its owner and our rules decided, whatever its liveness (see `duty`)."""

    IN_SERVICE = "in_service"
    DRAINING = "draining"  # takes no new jobs; those it has are moved
    MAINTENANCE = "maintenance"  # drained: nothing runs, nothing comes
    QUARANTINED = "quarantined"  # was lost too often; takes no new jobs for a while


@dataclass(frozen=True)
class NodeIdentity:
    """What the gateway needs to check a signed challenge: the raw 32-byte Ed25519 public key, and the status."""

    public_key: bytes
    status: NodeStatus


@dataclass(frozen=True)
class NodeSession:
    """One node as the gateway that holds it left it in the database."""

    node_id: str
    session_no: int
    liveness: Liveness


@dataclass(frozen=True)
class DeviceView:
    """One GPU of a node. `vram_gb` is in GiB, rounded to whole ones."""

    id: str
    uuid: str
    model: str
    vram_gb: int
    simulated: bool
    in_use: bool


@dataclass(frozen=True)
class NodeView:
    """One node with everything that a listing or a routing decision needs to know of it."""

    id: str
    name: str
    owner_id: str
    region: str
    status: NodeStatus
    liveness: Liveness
    simulated: bool
    cpus: int
    memory_gb: int
    disk_gb: int
    cpu_model: str
    runtimes: dict[str, str]
    devices: tuple[DeviceView, ...]
    losses: int
    online_s: float
    running_jobs: int
    last_seen_at: datetime | None
    enrolled_at: datetime
    findings: tuple[str, ...] = ()
    duty: Duty = Duty.IN_SERVICE
    duty_reason: str | None = None
    duty_since: datetime | None = None
    drain_deadline_at: datetime | None = None
    quarantined_until: datetime | None = None
    down_s: float = 0.0

    @property
    def is_usable(self) -> bool:
        """Verified, online and in service: its offers may be booked."""
        return (
            self.status is NodeStatus.VERIFIED
            and self.liveness is Liveness.ONLINE
            and self.duty is Duty.IN_SERVICE
        )


@dataclass(frozen=True)
class DrainingNode:
    """A node whose jobs are to be moved. `deadline_at`: it may be switched off from then on."""

    node_id: str
    reason: str
    deadline_at: datetime | None


@dataclass(frozen=True)
class EnrolmentToken:
    """A one-time token, shown once."""

    token: str
    expires_at: datetime


@dataclass(frozen=True)
class Joined:
    """The outcome of an enrolment."""

    node_id: str
    name: str
    status: NodeStatus


@dataclass(frozen=True)
class TakenDevice:
    """A device that was just taken."""

    id: str
    uuid: str
