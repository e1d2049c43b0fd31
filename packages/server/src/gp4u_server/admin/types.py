"""Frozen views that admins get."""

from dataclasses import dataclass
from datetime import datetime

PHASES = ("detect_ms", "decide_ms", "restore_ms", "start_ms", "recovery_ms")
"""The measured parts of a failover, and their sum from the node's last beat to the job's first new step."""


@dataclass(frozen=True)
class ProcessView:
    """One kind of platform process, as far as the database hears of it."""

    name: str
    connections: int
    last_active_at: datetime | None


@dataclass(frozen=True)
class GatewayView:
    """One gateway that has not ended."""

    id: str
    address: str
    started_at: datetime
    renewed_at: datetime


@dataclass(frozen=True)
class Backlog:
    """What waits: messages for the relay, and tasks that were given up in the last 24 hours."""

    outbox_waiting: int
    outbox_oldest_at: datetime | None
    tasks_given_up_24h: int


@dataclass(frozen=True)
class FailoverView:
    """One completed failover. Durations in whole milliseconds, by the name of the phase."""

    placement_id: str
    job_id: str
    job_name: str
    epoch: int
    node_id: str
    node_name: str
    resumed_at: datetime
    recovery_ms: dict[str, int]


@dataclass(frozen=True)
class Spread:
    """How long a phase took, in milliseconds."""

    p50: int
    p99: int
    max: int


@dataclass(frozen=True)
class PersonView:
    """One account."""

    id: str
    email: str
    name: str
    roles: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True)
class ListedNode:
    """One node that is not removed, with its owner's address. `online_s` in seconds."""

    id: str
    name: str
    owner_id: str
    owner_email: str
    region: str
    status: str
    findings: tuple[str, ...]
    liveness: str
    state: str
    simulated: bool
    gpu_models: tuple[str, ...]
    gpus: int
    gpus_in_use: int
    losses: int
    online_s: float
    last_seen_at: datetime | None
    enrolled_at: datetime


@dataclass(frozen=True)
class BooksCount:
    """How much there was to verify."""

    transfers: int
    entries: int
    accounts: int
