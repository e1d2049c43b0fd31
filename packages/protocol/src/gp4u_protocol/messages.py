"""Messages between agent and gateway: JSON text frames on one WebSocket that the agent dials.

    agent                         gateway
      | -- Hello ------------------> |   who I am, which versions I speak
      | <----------------- Challenge |   a nonce
      | -- Proof ------------------> |   Ed25519 signature over challenge_bytes(...)
      | <------------------- Welcome |   session, lease numbers, a token for HTTP
      | <------------------- Desired |   the whole wanted state; again after every change, and until claimed
      | -- Claim ------------------> |   "I take placement p, epoch e"; deadline counts from this send
      | <-------- Granted / Refused  |
      | -- Heartbeat --------------> |   every second: health, and the whole actual state
      | <-------------- HeartbeatAck |   which leases this very heartbeat renewed
      | -- Report -----------------> |   a placement changed its actual state
      | -- LogChunk ---------------> |   output of a job
      | -- Telemetry --------------> |   readings, where Welcome asked for them (gp4u_protocol.telemetry)
      | -- StandbyReport ----------> |   how far the preparations for a job of another node are
      | <---------------- ReportAck / LogAck

Lost messages do no harm: Desired and Heartbeat carry whole states, Reports and LogChunks are re-sent until
acknowledged, and every effect is guarded by the placement's epoch. Unknown *fields* are ignored (a newer peer may
send them), an unknown *type* is an error that closes the connection with `Rejected`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, field_validator

from gp4u_protocol.telemetry import Telemetry
from gp4u_protocol.transparent import TransparentFacts

PROTOCOL_VERSION = 1
AGENT_SOCKET_PATH = "/agent/v1/connect"
FRAME_BYTES_MAX = 1 << 20
STEP_MAX = 1 << 53
METRICS_MAX = 64
METRIC_NAME_MAX = 64
METRIC_MAX = 1e300
DETAIL_MAX = 4_000


class Message(BaseModel):
    """Base of every frame."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _storable(value: Any) -> Any:
    """Text that JSON, PostgreSQL and a person can hold: jobs decide what ends up in it, and they may write anything."""
    if not isinstance(value, str):
        return value
    return value[:DETAIL_MAX].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


StorableText = Annotated[str, BeforeValidator(_storable)]


# --- facts about a node ---------------------------------------------------------------------------------


class DeviceFacts(Message):
    """One GPU as the node sees it (NVML, or a simulation spec)."""

    uuid: str
    model: str = Field(description="catalogue name, for example RTX_4090")
    vram_mb: int
    driver: str = ""
    pcie_gen: int | None = None
    pcie_lanes: int | None = None
    simulated: bool = False


class NodeFacts(Message):
    """What a machine is. Sent when it enrols and whenever it changes."""

    hostname: str
    os: str
    kernel: str
    cpu_model: str
    cpus: int
    memory_mb: int
    disk_free_mb: int
    devices: list[DeviceFacts]
    runtimes: dict[str, str] = Field(
        default_factory=dict,
        description="runtime → what its probe proved, e.g. sandbox → 'bubblewrap+seccomp'",
    )
    simulated: bool = False
    transparent: TransparentFacts | None = Field(
        default=None, description="whether whole jobs can be dumped and restored here; null: never tried"
    )


class DeviceHealth(Message):
    """One GPU's readings at a heartbeat; None where the device does not tell."""

    uuid: str
    utilisation_percent: float | None = None
    memory_used_mb: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    ecc_errors: int | None = None
    xid: int | None = None


class NodeHealth(Message):
    """A node's readings at a heartbeat."""

    load_1m: float = 0.0
    memory_used_mb: int = 0
    disk_free_mb: int = 0
    agent_clock: datetime | None = Field(default=None, description="information only; decides nothing")
    devices: list[DeviceHealth] = []


# --- placements ------------------------------------------------------------------------------------------


class ActualState(StrEnum):
    """Where a placement stands on its node."""

    CLAIMED = "claimed"
    FETCHING = "fetching"  # pulling files
    RESTORING = "restoring"  # reading the checkpoint back
    RUNNING = "running"
    FROZEN = "frozen"  # the lease could not be proven
    STOPPING = "stopping"  # told to end; a final checkpoint is being taken
    EXITED = "exited"  # the job's process ended by itself
    STOPPED = "stopped"  # ended because it was told to
    START_FAILED = "start_failed"  # it never ran
    KILLED = "killed"  # superseded: another epoch owns the job


class ProcessUsage(Message):
    """What the job uses now."""

    cpu_percent: float = 0.0
    memory_mb: float = 0.0
    disk_mb: float = 0.0


class Progress(Message):
    """What the job itself says about its progress (see `gp4u_job.progress`)."""

    step: int = Field(ge=-STEP_MAX, le=STEP_MAX)
    total_steps: int | None = Field(default=None, ge=-STEP_MAX, le=STEP_MAX)
    metrics: dict[str, float] = {}

    @field_validator("metrics", mode="before")
    @classmethod
    def _only_finite(cls, value: Any) -> Any:
        """A diverged loss is NaN, which JSON cannot say: such a number is left out, and never spoils a heartbeat."""
        if not isinstance(value, dict):
            return value
        kept: dict[str, float] = {}
        for name, number in value.items():
            if len(kept) == METRICS_MAX:
                break
            is_number = isinstance(number, int | float) and not isinstance(number, bool)
            if isinstance(name, str) and is_number and abs(number) <= METRIC_MAX:  # NaN is not
                kept[_storable(name)[:METRIC_NAME_MAX]] = number
        return kept


class PlacementStatus(Message):
    """Actual state of one placement, inside every heartbeat."""

    placement_id: str
    epoch: int
    state: ActualState
    over: bool = Field(
        default=False,
        description="its process has ended; what remains is the last checkpoint and the report, and nothing to pay for",
    )
    over_s: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="of one that is over: seconds since its process ended, by the node's own clock. It can only shorten the bill",
    )
    usage: ProcessUsage | None = None
    progress: Progress | None = None


class DesiredRun(StrEnum):
    RUN = "run"
    STOP = "stop"  # final checkpoint, then end


class RestorePoint(Message):
    """Which checkpoint a placement starts from."""

    checkpoint_id: str
    epoch: int
    seq: int


class Notice(Message):
    """The placement has to leave its node by an instant: told to the job before it is told to stop."""

    reason: str = Field(description="stable code: drain, maintenance, preemption, device")
    sentence: str
    deadline_at: datetime = Field(description="by the platform's clock; names this notice")
    seconds_left: float = Field(
        description="until the deadline when this was sent: the node's own clock may be a day off"
    )
    signal: str | None = Field(default=None, description="the name of a signal that the job asked for")


class PlacementSpec(Message):
    """Everything an agent needs to run one placement."""

    placement_id: str
    job_id: str
    epoch: int
    desired: DesiredRun
    stop_reason: str | None = None
    job_name: str
    command: str
    image: str | None = Field(default=None, description="by digest; needs the runtime `containers`")
    environment: dict[str, str] = {}
    device_uuids: list[str]
    cpus: int
    memory_mb: int
    disk_mb: int
    network: bool = False
    checkpoint_path: str
    checkpoint_every_s: int
    checkpoint_verify: bool = Field(default=False, description="read unchanged files, too")
    checkpoint_lazy: list[str] = Field(
        default=[],
        description="patterns of files that may arrive after the start (gp4u_protocol.checkpoint.lazy)",
    )
    checkpoint_hazard_per_hour: float | None = Field(
        default=None, description="of the node, when the interval is to follow it and the measured cost"
    )
    transparent: bool = Field(
        default=False,
        description="checkpoints are of the whole job, memory and all: it runs where that works",
    )
    upload_id: str | None = Field(default=None, description="job files: GET /api/v1/agent/uploads/{id}")
    restore: RestorePoint | None = None
    stop_grace_s: int = 30
    notice: Notice | None = Field(default=None, description="it has to leave; None: it has not, or no more")


class StandbySpec(Message):
    """What a node keeps at hand for a job that runs elsewhere: its newest checkpoint, still sealed, and its start prepared.

    The node is not given the job's data key: what it keeps is ciphertext until it is granted a placement of the job.
    """

    standby_id: str
    job_id: str
    checkpoint: RestorePoint | None = Field(
        default=None,
        description="to hold: GET /api/v1/agent/standbys/{standby_id}/download; None: none exists yet",
    )
    image: str | None = Field(default=None, description="by digest, to be pulled beforehand")
    upload_id: str | None = Field(default=None, description="job files, to be fetched beforehand")
    disk_mb: int = Field(description="what the job's disk may hold; what is kept for it may be twice that")
    held: RestorePoint | None = Field(
        default=None,
        description="what the platform has noted as held here; reported again while it is another",
    )
    ready: bool = Field(default=False, description="whether the platform has noted this standby as ready")


# --- agent → gateway -------------------------------------------------------------------------------------


class AgentLife(Message):
    """What the agent knows of itself and its machine; after a loss it says who was gone: machine, agent or link.

    Information of the node about itself: it decides nothing alone (see `catalyst.incidents`).
    """

    boot_id: Annotated[str, Field(max_length=64)] = Field(
        default="", description="changes with each start of the machine"
    )
    booted_s_ago: float | None = Field(default=None, ge=0)
    run_id: Annotated[str, Field(max_length=64)] = Field(
        default="", description="changes with each start of the agent"
    )
    running_s: float | None = Field(default=None, ge=0, description="since the agent began")
    last_run: Literal["clean", "crashed", "none", "unknown"] = Field(
        default="unknown", description="how the run of the agent before this one ended"
    )
    stood_still_s: float = Field(
        default=0.0, ge=0, description="longest pause of the agent itself since its last session began"
    )
    runs_kept: int = Field(default=0, ge=0, description="jobs that lived on without it")
    runs_gone: int = Field(default=0, ge=0, description="jobs that did not")


class Hello(Message):
    type: Literal["hello"] = "hello"
    protocol_version: int = PROTOCOL_VERSION
    agent_version: str
    node_id: str
    facts: NodeFacts
    life: AgentLife | None = None
    resumed: bool = Field(
        default=False,
        description="this very agent process had a session and lost it: its silence says something of its link",
    )


class Proof(Message):
    type: Literal["proof"] = "proof"
    signature: str = Field(description="base64 of Ed25519 over challenge_bytes(node_id, nonce)")


class Heartbeat(Message):
    """`seq` grows by one each beat of a session; the ack names it, and the agent knows when it sent it."""

    type: Literal["heartbeat"] = "heartbeat"
    seq: int
    acked_seq: int | None = Field(
        default=None,
        description="the newest heartbeat of this session whose answer arrived; an agent that says this obeys `ttl_s` "
        "of answers",
    )
    health: NodeHealth
    placements: list[PlacementStatus] = []


class Claim(Message):
    type: Literal["claim"] = "claim"
    seq: int = Field(description="names this claim in the answer")
    placement_id: str
    epoch: int


class Arriving(Message):
    """Files of the restored checkpoint that the job started without. None left: all are there."""

    files: int = Field(ge=0, description="that have not arrived")
    bytes: int = Field(ge=0, description="of those")
    bytes_total: int = Field(ge=0, description="of the whole checkpoint")


class Report(Message):
    """A placement changed state. Re-sent until acknowledged; `seq` grows per placement and epoch."""

    type: Literal["report"] = "report"
    seq: int
    placement_id: str
    epoch: int
    state: ActualState
    exit_code: int | None = None
    signal: int | None = None
    reason: StorableText | None = Field(
        default=None, description="stable code, e.g. out_of_memory, disk_full"
    )
    detail: StorableText | None = Field(default=None, description="a sentence for the renter")
    saved: bool = Field(
        default=False, description="of an end: what the job left in its checkpoint folder is all committed"
    )
    durations_ms: dict[str, int] = Field(
        default_factory=dict,
        description="how long fetching, restoring, starting took on the agent's own clock; arriving: of lazy files",
    )
    arriving: Arriving | None = Field(
        default=None,
        description="with `running`: how many files follow; again with `running` when all are there",
    )


class LogChunk(Message):
    type: Literal["log"] = "log"
    placement_id: str
    epoch: int
    offset: int = Field(description="byte offset of `text` in this placement's output")
    text: str


class StandbyReport(Message):
    """How far a standby is. Sent while `StandbySpec.held` and `ready` say something else; only to a gateway that named it."""

    type: Literal["standby"] = "standby"
    standby_id: str
    held: RestorePoint | None = Field(default=None, description="the checkpoint that lies here completely")
    ready: bool = Field(
        default=False, description="checkpoint, job files and image are here: a start needs no download"
    )
    bytes_held: int = Field(default=0, ge=0)
    fetched_bytes: int = Field(default=0, ge=0, description="downloaded for it so far")
    problem: StorableText | None = Field(default=None, description="why it cannot get ready, for people")


# --- gateway → agent -------------------------------------------------------------------------------------


class Challenge(Message):
    type: Literal["challenge"] = "challenge"
    nonce: str


class Welcome(Message):
    type: Literal["welcome"] = "welcome"
    protocol_version: int
    session_id: str
    heartbeat_interval_s: float
    lease_ttl_s: float = Field(description="of answers that carry no `ttl_s` of their own")
    http_token: str = Field(description="bearer token for /api/v1/agent/*, bound to this node")
    gateways: list[str] = Field(
        default=[], description="WebSocket addresses of all gateways, this one too; empty: not said"
    )
    apis: list[str] = Field(default=[], description="addresses that serve /api/v1; empty: not said")
    telemetry_every_s: float | None = Field(
        default=None, gt=0, description="send Telemetry this often; None: this gateway does not know it"
    )


class Token(Message):
    """A fresh HTTP token, sent before the old one expires."""

    type: Literal["token"] = "token"
    http_token: str


class Desired(Message):
    """The whole wanted state of this node. What runs here and is not listed must be killed."""

    type: Literal["desired"] = "desired"
    version: int
    placements: list[PlacementSpec]
    standbys: list[StandbySpec] | None = Field(
        default=None,
        description="jobs of other nodes that this one stands by for; what is not listed is let go. None: not said",
    )


class Granted(Message):
    """The claim was accepted: the lease runs from the instant the claim was *sent*.

    `data_key` encrypts this job's checkpoints; only the node that holds the current epoch is given it.
    """

    type: Literal["granted"] = "granted"
    seq: int
    placement_id: str
    epoch: int
    data_key: str = Field(description="base64, 32 bytes, AES-256-GCM")
    ttl_s: float | None = Field(
        default=None,
        gt=0,
        description="how long what this answer grants lasts, from the send it answers; None: as `Welcome` said",
    )


class Refused(Message):
    """The claim failed: the epoch is not current, or the node may not run it. Kill what runs of it."""

    type: Literal["refused"] = "refused"
    seq: int
    placement_id: str
    epoch: int
    code: str


class LeaseKey(Message):
    placement_id: str
    epoch: int


class HeartbeatAck(Message):
    """Renews, from the send time of heartbeat `seq`, exactly the leases listed."""

    type: Literal["heartbeat_ack"] = "heartbeat_ack"
    seq: int
    renewed: list[LeaseKey] = []
    ttl_s: float | None = Field(
        default=None,
        gt=0,
        description="how long what this answer grants lasts, from the send it answers; None: as `Welcome` said",
    )


class ReportAck(Message):
    type: Literal["report_ack"] = "report_ack"
    placement_id: str
    epoch: int
    seq: int
    stale: bool = Field(
        default=False, description="true: this epoch is over; stop sending and kill what is left"
    )


class LogAck(Message):
    type: Literal["log_ack"] = "log_ack"
    placement_id: str
    epoch: int
    next_offset: int


class Rejected(Message):
    """The gateway closes the connection. `retry` false means a person has to act (wrong key, unknown node)."""

    type: Literal["rejected"] = "rejected"
    code: str
    detail: str
    retry: bool = True


AgentMessage = Annotated[
    Hello | Proof | Heartbeat | Claim | Report | LogChunk | StandbyReport | Telemetry,
    Field(discriminator="type"),
]
GatewayMessage = Annotated[
    Challenge | Welcome | Token | Desired | Granted | Refused | HeartbeatAck | ReportAck | LogAck | Rejected,
    Field(discriminator="type"),
]

_from_agent: TypeAdapter[Any] = TypeAdapter(AgentMessage)
_from_gateway: TypeAdapter[Any] = TypeAdapter(GatewayMessage)


def decode_from_agent(frame: str | bytes) -> AgentMessage:
    """The message in `frame`. Raises pydantic.ValidationError for anything else."""
    message: AgentMessage = _from_agent.validate_json(frame)
    return message


def decode_from_gateway(frame: str | bytes) -> GatewayMessage:
    """The message in `frame`. Raises pydantic.ValidationError for anything else."""
    message: GatewayMessage = _from_gateway.validate_json(frame)
    return message


def challenge_bytes(node_id: str, nonce: str) -> bytes:
    """What an agent signs to prove its key: domain-separated, so the signature is good for nothing else."""
    return b"gp4u agent challenge v1\n" + node_id.encode() + b"\n" + nonce.encode()


def join_bytes(token: str, public_key: str) -> bytes:
    """What an agent signs when it enrols: proves that it holds the private half of `public_key` (base64, as sent)."""
    return b"gp4u agent join v1\n" + token.encode() + b"\n" + public_key.encode()
