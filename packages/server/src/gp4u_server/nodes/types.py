"""States of nodes, and the frozen views that other modules get."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gp4u_server.nodes.reliability import PRIOR_SHAPE, PUBLISHED, Prior, Record, record_of


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


class WindowState(StrEnum):
    """Where a maintenance window stands."""

    PLANNED = "planned"
    ACTIVE = "active"
    OVER = "over"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class MaintenanceWindow:
    """A span in which the node is out of service by its owner's plan."""

    id: str
    node_id: str
    starts_at: datetime
    ends_at: datetime
    reason: str | None
    state: WindowState


@dataclass(frozen=True)
class FailedDevice:
    """A device that cannot be used. `back_at`: it is there again, and offered from then on if it behaves."""

    id: str
    node_id: str
    uuid: str
    reason: str
    faults: int
    back_at: datetime | None


@dataclass(frozen=True)
class ReservedDevice:
    """A device that is kept for a job until an instant. `in_use`: another job holds it still."""

    node_id: str
    uuid: str
    job_id: str
    until: datetime
    in_use: bool


@dataclass(frozen=True)
class DeviceView:
    """One GPU of a node. `vram_gb` is in GiB, rounded to whole ones.

    `reserved_for`: the job that it is kept for. `fault`: why it is out of the offer; `back_at`: its probation ends then.
    """

    id: str
    uuid: str
    model: str
    vram_gb: int
    simulated: bool
    in_use: bool
    reserved_for: str | None = None
    fault: str | None = None
    back_at: datetime | None = None

    @property
    def is_free(self) -> bool:
        """Whether anybody may take it now."""
        return self.fault is None and not self.in_use and self.reserved_for is None


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
    in_pool: bool = False
    maintenance_until: datetime | None = None
    windows: tuple[MaintenanceWindow, ...] = ()
    lease_ttl_s: float | None = None  # how long its leases last; None: it was never connected
    lease_ttl_why: str | None = None  # None: as short as they may be
    watched_reason: str | None = None  # showed a sign of failing that is held back; it stays in service

    host_losses: int = 0  # of `losses`, those attributed to its hardware or software
    network_losses: int = 0
    away_s: float = 0.0  # away by its own or its network's fault
    prior: Prior = PUBLISHED

    @property
    def record(self) -> Record:
        """How well it did and how well it will probably do."""
        return record_of(self.host_losses, self.online_s, self.away_s, self.prior)

    @property
    def hazard_per_hour(self) -> float:
        """Losses an hour that a job on it must expect, by its host or its network: to the job they are the same."""
        losses = PRIOR_SHAPE + self.host_losses + self.network_losses
        return losses / (self.prior.rate_h + self.online_s / 3600)

    @property
    def is_usable(self) -> bool:
        """Verified, online and in service: its offers may be booked."""
        return (
            self.status is NodeStatus.VERIFIED
            and self.liveness is Liveness.ONLINE
            and self.duty is Duty.IN_SERVICE
        )


@dataclass(frozen=True)
class ScoreChange:
    """A node's reliability before and after an event, and what the event added to its record (negative: took back)."""

    id: str
    node_id: str
    before: float
    after: float
    host_losses: int
    network_losses: int
    away_s: float
    incident_id: str | None
    reason: str
    at: datetime


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
