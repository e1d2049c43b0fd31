"""The job specification: what a renter asks to run. One model for the job file, the API and the SDK.

Human spellings (`">=24"`, `5s`, `0.80` dollars) belong to the job *file* and are translated by
`gp4u_protocol.job_file`; this model is exact: integers, seconds, micro-units.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from gp4u_protocol.checkpoint.lazy import PATTERN_LENGTH_MAX, PATTERNS_MAX, fault_of_patterns

JobName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
ImageName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-zA-Z0-9._:/-]{0,254}@sha256:[0-9a-f]{64}$", max_length=400)
]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


def _stays_inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError("must be a relative path that stays inside the job's folder")
    return path


def _name_files(patterns: list[str]) -> list[str]:
    if fault := fault_of_patterns(patterns):
        raise ValueError(fault)
    return patterns


Patterns = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=PATTERN_LENGTH_MAX)]],
    Field(max_length=PATTERNS_MAX),
    AfterValidator(_name_files),
]
RelativePath = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_stays_inside)]


class Strict(BaseModel):
    """Base of every model that crosses the API: unknown fields are errors, never dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Protection(StrEnum):
    """What Catalyst does when the job's node dies."""

    NONE = "none"  # the job ends as failed, reason node_lost
    CATALYST = "catalyst"  # it goes on elsewhere from its last committed checkpoint
    HOT = "hot"  # the same, and a second node keeps that checkpoint and its start at hand, for a small rate


class OnNodeLoss(StrEnum):
    """What becomes of a protected job whose node is lost or taken out of service."""

    MOVE = "move"  # it goes on elsewhere from its last committed checkpoint
    WAIT = "wait"  # it waits, unbilled, until the same node is back, and goes on there
    STOP = "stop"  # it ends as stopped; its last checkpoint is kept


class BookingKind(StrEnum):
    """On what terms a job has its GPUs."""

    ON_DEMAND = "on_demand"  # until it ends, at the offer's price
    INTERRUPTIBLE = (
        "interruptible"  # cheaper, until an on-demand job needs them: then it has notice and moves
    )


class NoticeSignal(StrEnum):
    """What a job may ask to be sent when it is given notice."""

    SIGUSR1 = "SIGUSR1"
    SIGUSR2 = "SIGUSR2"
    SIGHUP = "SIGHUP"
    SIGINT = "SIGINT"
    SIGTERM = "SIGTERM"


CONTAINERS_WHOLE = "containers-whole"
"""What a node tells among its runtimes when it saves jobs with an image whole."""


class CheckpointSource(StrEnum):
    """What a checkpoint is of."""

    APPLICATION = "application"  # the files of the job's checkpoint folder
    TRANSPARENT = "transparent"  # the whole job, memory and all, on nodes whose probe proved it
    AUTO = "auto"  # the whole job where its node can, else the folder


class Resources(Strict):
    """What a node must have to run the job."""

    gpus: int = Field(default=1, ge=1, le=16, description="GPUs, all in one node")
    vram_gb_min: int = Field(default=0, ge=0, le=1024, description="memory of each GPU, GiB")
    gpu_models: list[str] = Field(
        default_factory=list, max_length=32, description="acceptable GPU models; empty means any"
    )
    cpus: int = Field(default=1, ge=1, le=256, description="CPU cores for the job")
    memory_gb: int = Field(default=2, ge=1, le=4096, description="main memory for the job, GiB")
    disk_gb: int = Field(default=5, ge=1, le=16384, description="disk for the job, GiB")
    regions: list[str] = Field(
        default_factory=list, max_length=32, description="acceptable regions; empty means any"
    )
    network: bool = Field(default=False, description="whether the job may use the network")


class KeepRule(Strict):
    """Which checkpoints of a job are kept. What is left out is the platform's choice; a pinned one always stays."""

    last: int | None = Field(default=None, ge=1, le=1000, description="the newest ones")
    hourly: int | None = Field(
        default=None, ge=0, le=1000, description="the newest of each of this many hours that have one"
    )


class CheckpointRule(Strict):
    """Where the job's state lies and how often it is saved."""

    path: RelativePath = Field(default="checkpoints", description="folder, relative to the job's own")
    every_s: int = Field(default=60, ge=1, le=86_400, description="seconds between interval checkpoints")
    auto: bool = Field(
        default=False,
        description="follow the node's hazard and what a checkpoint costs; every_s counts until a cost is known",
    )
    source: CheckpointSource = Field(
        default=CheckpointSource.APPLICATION,
        description="application: the folder; transparent: the whole job, only on nodes that can; "
        "auto: the whole job where its node can, else the folder",
    )
    verify: bool = Field(
        default=False,
        description="read every file at every checkpoint, also those that by inode, size and times have not changed",
    )
    lazy: Patterns = Field(
        default_factory=list,
        description="files that the job can do without at its start, as patterns of a .gitignore relative to `path`: it "
        "starts when all others are restored, and these arrive while it runs, in the order of the patterns",
    )
    keep: KeepRule | None = Field(default=None, description="which ones are kept; null: as the platform does")


class Budget(Strict):
    """Ceilings that the renter sets. The job is never placed above the rate, and stops gracefully at the total."""

    per_hour_micros_max: int | None = Field(default=None, ge=1, le=10**12)
    total_micros_max: int | None = Field(default=None, ge=1, le=10**15)


class FailoverRule(Strict):
    """The renter's policy for moves. A job that has not run yet has nothing to move: it is placed like a new one."""

    on_node_loss: OnNodeLoss = OnNodeLoss.MOVE
    moves_max: int | None = Field(
        default=None, ge=0, le=1000, description="moves it may make; the loss after the last one ends it"
    )
    per_hour_micros_max: int | None = Field(
        default=None,
        ge=1,
        le=10**12,
        description="ceiling for the rate of a replacement, beside the budget's own",
    )
    same_region_only: bool = Field(
        default=False, description="replacements only in the region it ran in last"
    )
    deadline_s: int | None = Field(
        default=None,
        ge=60,
        le=31_536_000,
        description="seconds after its submission at which it is stopped gracefully, running or waiting",
    )
    notice_signal: NoticeSignal | None = Field(
        default=None, description="sent to every process of the job when it is given notice to leave its node"
    )


class JobSpec(Strict):
    """A job as the API takes it."""

    name: JobName = Field(default="job", description="shown in lists; lower case letters, digits, . _ -")
    command: str = Field(
        min_length=1, max_length=32_768, description="run by `/bin/sh -c` in the job's folder"
    )
    image: ImageName | None = Field(
        default=None,
        description="container image by digest, name@sha256:…; only nodes with a container engine run it. "
        "Without one the job sees the node's own system, read-only",
    )
    environment: dict[EnvName, Annotated[str, StringConstraints(max_length=32_768)]] = Field(
        default_factory=dict, max_length=256
    )
    upload_id: str | None = Field(
        default=None, description="the folder sent with the job (see POST /uploads)"
    )
    kind: BookingKind = Field(
        default=BookingKind.ON_DEMAND,
        description="interruptible: at the offer's interruptible floor, until an on-demand job needs the GPUs",
    )
    start_from: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_]{1,64}$",
        description="a checkpoint of another job of yours to begin with",
    )
    resources: Resources = Field(default_factory=Resources)
    checkpoint: CheckpointRule = Field(default_factory=CheckpointRule)
    budget: Budget = Field(default_factory=Budget)
    protection: Protection = Protection.CATALYST
    failover: FailoverRule = Field(default_factory=FailoverRule)
    duration_s_max: int = Field(
        default=86_400, ge=60, le=2_592_000, description="the job is stopped after this long"
    )

    @model_validator(mode="after")
    def _hot_moves(self) -> "JobSpec":
        if self.protection is Protection.HOT and self.failover.on_node_loss is not OnNodeLoss.MOVE:
            raise ValueError("protection hot stands by for a move: it needs failover.on_node_loss move")
        return self

    @model_validator(mode="after")
    def _whole_is_possible(self) -> "JobSpec":
        if self.checkpoint.source is CheckpointSource.TRANSPARENT:
            if self.checkpoint.lazy:
                raise ValueError(
                    "checkpoint.source transparent: a dump is restored whole, without checkpoint.lazy"
                )
            if self.resources.network:
                raise ValueError(
                    "checkpoint.source transparent: a job with a network cannot be saved whole; use auto"
                )
        return self

    @property
    def runtime(self) -> str:
        """What a node must offer to run it. Nothing weaker is taken in its place."""
        if self.checkpoint.source is CheckpointSource.TRANSPARENT:
            return self.whole_runtime
        return "sandbox" if self.image is None else "containers"

    @property
    def whole_runtime(self) -> str:
        """What a node must offer to save it whole."""
        return "bundle" if self.image is None else CONTAINERS_WHOLE
