"""What the clients with and without an event loop share: how a job is described, and what a handle on one knows."""

from typing import Any, TypedDict, Unpack

from gp4u_protocol.job_spec import Budget, CheckpointRule, JobSpec, Protection, Resources

from gp4u.config import Credentials
from gp4u.following import FINAL_STATES


class JobOptions(TypedDict, total=False):
    """What `run` takes beside the command and the folder. Whatever is left out has the job file's default."""

    name: str
    environment: dict[str, str]
    gpus: int
    vram_gb_min: int
    gpu_models: list[str]
    checkpoint_path: str
    checkpoint_every_s: int
    per_hour_micros_max: int | None
    total_micros_max: int | None
    protection: str


def spec_of(command: str, **options: Unpack[JobOptions]) -> JobSpec:
    """The specification of a job. Raises pydantic.ValidationError for impossible values."""
    return JobSpec(
        name=options.get("name", "job"),
        command=command,
        environment=options.get("environment") or {},
        resources=Resources(
            gpus=options.get("gpus", 1),
            vram_gb_min=options.get("vram_gb_min", 0),
            gpu_models=options.get("gpu_models") or [],
        ),
        checkpoint=CheckpointRule(
            path=options.get("checkpoint_path", "checkpoints"),
            every_s=options.get("checkpoint_every_s", 60),
        ),
        budget=Budget(
            per_hour_micros_max=options.get("per_hour_micros_max"),
            total_micros_max=options.get("total_micros_max"),
        ),
        protection=Protection(options.get("protection", "catalyst")),
    )


def credentials_for(url: str | None, api_key: str | None) -> Credentials | None:
    """Explicit credentials, or None for the stored ones."""
    return Credentials(url=(url or Credentials.url).rstrip("/"), api_key=api_key) if url or api_key else None


class JobHandle:
    """What is known of one job. `data` is the newest document that was read (see GET /jobs/{id})."""

    data: dict[str, Any]

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.data["id"])

    @property
    def state(self) -> str:
        """The state as of the last read."""
        return str(self.data["state"])

    @property
    def standby(self) -> dict[str, Any] | None:
        """The second node of a hot job as of the last read: `state`, `node_name`, `checkpoint_seq`, `ready_since`, …"""
        found: dict[str, Any] | None = self.data.get("standby")
        return found

    @property
    def has_ended(self) -> bool:
        """Whether that state is a final one."""
        return self.state in FINAL_STATES
