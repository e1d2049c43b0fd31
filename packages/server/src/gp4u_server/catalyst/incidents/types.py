"""What an incident is, what it can be attributed to, and what speaks for that."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gp4u_protocol.messages import AgentLife


class Cause(StrEnum):
    """What an incident is attributed to."""

    HOST_HARDWARE = "host_hardware"
    HOST_SOFTWARE = "host_software"
    RENTER_JOB = "renter_job"
    NETWORK = "network"
    PLATFORM = "platform"
    UNKNOWN = "unknown"


HOST = frozenset({Cause.HOST_HARDWARE, Cause.HOST_SOFTWARE})


class CauseFilter(StrEnum):
    """What admins look for: a cause, or what is not settled yet."""

    HOST_HARDWARE = "host_hardware"
    HOST_SOFTWARE = "host_software"
    RENTER_JOB = "renter_job"
    NETWORK = "network"
    PLATFORM = "platform"
    UNKNOWN = "unknown"
    OPEN = "open"


class IncidentKind(StrEnum):
    """What happened."""

    NODE_LOST = "node_lost"  # its lease ran out, and every run on it with it
    RUN_LOST = "run_lost"  # the node went on, this run did not: its shim was lost, or the node gave it up
    JOB_FAILED = "job_failed"  # the command ended with an error or by its own limits
    START_FAILED = "start_failed"  # it never ran there


class Witness(StrEnum):
    """Kinds of evidence. They are independent of each other: no one of them could have caused what another saw."""

    PLATFORM = "platform"  # our own records: a gateway that died, started or could not renew
    GATEWAY = "gateway"  # what the gateways saw of the node and of those beside it
    TELEMETRY = "telemetry"  # device events and readings from before
    AGENT = "agent"  # what the agent says of itself and of its machine when it is back
    RUN_REPORT = "run_report"  # how the run ended, as its shim and runtime tell it
    COMPARISON = "comparison"  # the same job elsewhere, other jobs here


@dataclass(frozen=True)
class Finding:
    """One piece of evidence.

    `fits`: the causes that it is consistent with. `points_at`: the one that it speaks for, if any. `sub_class`: what
    exactly, such as `xid_79`.
    """

    witness: Witness
    code: str
    sentence: str
    fits: frozenset[Cause]
    points_at: Cause | None = None
    sub_class: str | None = None


@dataclass(frozen=True)
class Attribution:
    """The decision on an incident, with everything that was weighed."""

    cause: Cause
    sub_class: str | None
    sentence: str
    findings: tuple[Finding, ...] = ()

    @property
    def witnesses(self) -> int:
        """How many independent kinds of evidence there are."""
        return len({finding.witness for finding in self.findings})


@dataclass(frozen=True)
class DeviceSign:
    """One device event: `code` is an XID's number or the kind's own code; `severity` is info, warning or critical."""

    device_uuid: str | None
    kind: str
    code: str
    severity: str
    at: datetime


@dataclass(frozen=True)
class Neighbours:
    """Nodes that were lost within seconds of this one, itself included, and how many there were."""

    of_gateway: int = 1
    gateway_nodes: int = 1
    gateway_owners: int = 1
    of_site: int = 1  # same owner and region
    site_nodes: int = 1


@dataclass(frozen=True)
class Facts:
    """Everything that an attribution weighs. Instants are the database's."""

    kind: IncidentKind
    began_at: datetime  # the last proof of life, or the end of the run
    opened_at: datetime
    # platform
    ours: bool = False
    off_duty: bool = False  # in maintenance: nobody counted on it
    gateway_unsure: bool = False  # the gateway began, was silent or ended around that time
    # gateway
    socket_open: bool | None = None
    neighbours: Neighbours = field(default_factory=Neighbours)
    node_stayed: bool | None = None  # for runs: the node itself went on
    # telemetry
    signs: tuple[DeviceSign, ...] = ()
    # agent
    before: AgentLife | None = None
    after: AgentLife | None = None
    same_session: bool = False  # it went on beating on the connection that it had
    away_s: float | None = None  # None: it is not back
    # the run
    reason: str | None = None
    # comparison
    failed_elsewhere: int = 0  # other nodes on which this job failed to start or failed
    ran_elsewhere: int = 0  # other nodes on which it ran after it had failed here
    others_failed_here: int = 0  # other renters' jobs that failed on this node around then
    others_ran_here: int = 0  # other jobs that ran here through that time
