"""Response models of the admins' rooms."""

from datetime import datetime

from gp4u_protocol.job_spec import Strict
from pydantic import Field


class ProcessOut(Strict):
    name: str = Field(description="api, gateway, controller, worker …")
    connections: int = Field(description="open connections to the database, of all its processes")
    last_active_at: datetime | None = Field(description="the newest change of state of one of them")


class GatewayOut(Strict):
    id: str
    address: str
    started_at: datetime
    renewed_at: datetime = Field(description="a gateway renews every 2 s")


class BacklogOut(Strict):
    outbox_waiting: int = Field(description="messages that the controller has not relayed yet")
    outbox_oldest_at: datetime | None
    tasks_given_up_24h: int


class AdminOverviewOut(Strict):
    at: datetime
    nodes: dict[str, int] = Field(description="verified nodes by state, and `pending`")
    gpus_in_use: int
    gpus_total: int
    jobs_open: dict[str, int] = Field(description="by state")
    jobs_ended_24h: dict[str, int] = Field(description="by state, of the jobs submitted in the last 24 hours")
    processes: list[ProcessOut] = Field(description="as far as this database hears of them")
    gateways: list[GatewayOut]
    backlog: BacklogOut


class SpreadOut(Strict):
    p50: int = Field(description="milliseconds, nearest rank")
    p99: int
    max: int


class FailoverOut(Strict):
    placement_id: str
    job_id: str
    job_name: str
    epoch: int
    node_id: str
    node_name: str = Field(description="where the job went on")
    resumed_at: datetime
    recovery_ms: dict[str, int] = Field(description="detect_ms, decide_ms, restore_ms, start_ms, recovery_ms")


class FailoversOut(Strict):
    since: datetime
    measured: int = Field(description="how many failovers the figures are of: the newest 500 at most")
    phases: dict[str, SpreadOut]
    newest: list[FailoverOut]


class AdminUserOut(Strict):
    id: str
    email: str
    name: str
    roles: list[str]
    created_at: datetime


class AdminNodeOut(Strict):
    id: str
    name: str
    owner_id: str
    owner_email: str
    region: str
    status: str
    findings: list[str] = Field(description="why a pending node is not verified yet")
    liveness: str
    state: str = Field(description="liveness and duty in one word, as on the owner's page")
    simulated: bool
    gpu_models: list[str]
    gpus: int
    gpus_in_use: int
    reliability: float = Field(description="probability of surviving 24 h, Bayesian mean")
    reliability_low: float = Field(description="lower end of its 90 % interval")
    reliability_high: float = Field(description="upper end of its 90 % interval")
    record: str = Field(description='uptime and sample size in words, such as "99.1 %, 41 days seen"')
    losses: int
    online_s: float = Field(description="seconds seen online: the size of the sample")
    last_seen_at: datetime | None
    enrolled_at: datetime


class BooksProblemOut(Strict):
    check: str
    row: str
    detail: str


class BooksVerificationOut(Strict):
    """The outcome of reading the whole ledger again."""

    ok: bool
    at: datetime
    took_ms: int
    transfers: int
    entries: int
    accounts: int
    problems_count: int
    problems: list[BooksProblemOut] = Field(description="the first 100")


class LastVerificationOut(Strict):
    last: BooksVerificationOut | None = Field(description="null when none is remembered; kept for 30 days")
