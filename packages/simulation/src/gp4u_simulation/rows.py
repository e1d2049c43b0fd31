"""The rows of the simulated database."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gp4u_protocol.lease import LEASE_TTL_S
from gp4u_protocol.lease_core import LeaseId
from gp4u_protocol.messages import DesiredRun, PlacementSpec
from gp4u_server.billing.metering import Meter
from gp4u_server.catalyst.health.lease_table import NodeState
from gp4u_server.catalyst.jobs.types import JobState


@dataclass
class PlacementRow:
    """One placement. Its id is its booking's, too."""

    id: str
    job: "JobRow"
    epoch: int
    node_id: str
    created_at: datetime
    lease: LeaseId
    claimed: bool = False
    live: bool = True
    desired: DesiredRun = DesiredRun.RUN
    running_at: datetime | None = None
    metered_from: datetime | None = None
    interrupted_at: datetime | None = None
    checkpoint_at: datetime | None = None
    stop_requested_at: datetime | None = None
    report_seq: int = 0

    def spec(self) -> PlacementSpec:
        """As `Desired` carries it."""
        # Unchecked: nothing here comes from outside, and a seed has thousands of them.
        fields: dict[str, Any] = {"placement_id": self.id, "job_id": self.job.id, "epoch": self.epoch}
        return PlacementSpec.model_construct(**fields, desired=self.desired, stop_reason=None)


@dataclass
class JobRow:
    """One job."""

    id: str
    renter_id: str
    work_s: float
    next_attempt_at: datetime
    state: JobState = JobState.QUEUED
    epoch: int = 0
    placement: PlacementRow | None = None
    placements: list[PlacementRow] = field(default_factory=list)
    stop_reason: str | None = None
    has_run: bool = False
    start_failures: int = 0
    attempts: int = 0
    checkpoint_id: str | None = None
    checkpoint: tuple[int, int] | None = None  # (epoch, seq) of the restore point


@dataclass
class NodeRow:
    """One node."""

    id: str
    session_no: int = 0
    gateway_id: str | None = None
    state: NodeState | None = None
    version: int = 0
    lease_ttl_s: float = LEASE_TTL_S
    changed_in: int = 0

    @property
    def watched(self) -> tuple[object, ...]:
        """What production's trigger looks at."""
        return self.gateway_id, self.session_no, self.version, self.state


@dataclass
class GatewayRow:
    """One run of a gateway process."""

    renewed_at: datetime
    ended: bool = False


@dataclass
class MeterRow:
    """One booking's meter."""

    booking_id: str
    job: JobRow
    node_id: str
    meter: Meter
    holds: int = 1
    posted_through: datetime | None = None
    next_due_at: datetime | None = None
    stopped: bool = False
    settled: bool = False


@dataclass
class UploadRow:
    """One snapshot's upload."""

    id: str
    job: JobRow
    placement_id: str
    epoch: int
    seq: int
    opened_at: datetime
    finished: bool = False
    closed: bool = False


@dataclass
class PackRow:
    """One announced pack."""

    id: str
    upload_id: str
    size_bytes: int
    stored: bool = False
    marked_at: datetime | None = None


@dataclass
class CheckpointRow:
    """One visible checkpoint."""

    id: str
    epoch: int
    seq: int
    work: float
    packs: dict[str, int]
    committed_at: datetime
