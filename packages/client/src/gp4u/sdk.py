"""The Python SDK: the same nouns and verbs as the command and the API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gp4u_protocol.job_file import read_job_file
from gp4u_protocol.job_spec import Budget, CheckpointRule, JobSpec, Protection, Resources

from gp4u.api import ApiClient
from gp4u.config import Credentials
from gp4u.following import FINAL_STATES, Update, follow
from gp4u.submission import submit


class Job:
    """A handle on one job. `data` is the newest document that was read (see GET /jobs/{id})."""

    def __init__(self, api: ApiClient, data: dict[str, Any]) -> None:
        self._api = api
        self.data = data

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.data["id"])

    @property
    def state(self) -> str:
        """The state as of the last read."""
        return str(self.data["state"])

    def refresh(self) -> "Job":
        """Read the job again."""
        self.data = self._api.get(f"/jobs/{self.id}")
        return self

    def updates(self) -> Iterator[Update]:
        """Live updates until the job has ended."""
        return follow(self._api, self.id)

    def wait(self) -> "Job":
        """Return when the job has ended."""
        if self.state not in FINAL_STATES:
            for _ in self.updates():
                pass
        return self.refresh()

    def log(self, offset: int = 0) -> str:
        """The whole output so far, from a byte offset."""
        parts = []
        while True:
            page = self._api.get(f"/jobs/{self.id}/log", offset=offset)
            parts.append(page["text"])
            if page["next_offset"] == offset:
                return "".join(parts)
            offset = page["next_offset"]

    def timeline(self) -> list[dict[str, Any]]:
        """Everything that happened to the job so far."""
        events: list[dict[str, Any]] = self._api.get(f"/jobs/{self.id}/events")
        return events

    def decisions(self) -> list[dict[str, Any]]:
        """Why it runs where it runs."""
        found: list[dict[str, Any]] = self._api.get(f"/jobs/{self.id}/decisions")
        return found

    def stop(self) -> "Job":
        """Stop gracefully after a final checkpoint."""
        self.data = self._api.post(f"/jobs/{self.id}/stop")
        return self


class Client:
    """A marketplace as a renter sees it.

    Args:
        url: the marketplace; by default what `gp4u login` stored, or GP4U_URL.
        api_key: a key of yours; by default the stored sign-in, or GP4U_API_KEY.
    """

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        credentials = Credentials(url=url or Credentials.url, api_key=api_key) if url or api_key else None
        self.api = ApiClient(credentials)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.api.close()

    def search(self, query: str = "", limit: int = 50) -> list[dict[str, Any]]:
        """Offers that match a query line, e.g. `gpu_model=RTX_4090 price<=0.60`."""
        return list(self.api.pages("/offers", q=query or None, limit=limit))

    def run(
        self,
        command: str,
        *,
        name: str = "job",
        files: str | Path | None = None,
        environment: dict[str, str] | None = None,
        gpus: int = 1,
        vram_gb_min: int = 0,
        gpu_models: list[str] | None = None,
        checkpoint_path: str = "checkpoints",
        checkpoint_every_s: int = 60,
        per_hour_micros_max: int | None = None,
        total_micros_max: int | None = None,
        protection: str = "catalyst",
        offer_id: str | None = None,
    ) -> Job:
        """Submit a job. Raises ApiError, or pydantic.ValidationError for impossible values."""
        spec = JobSpec(
            name=name,
            command=command,
            environment=environment or {},
            resources=Resources(gpus=gpus, vram_gb_min=vram_gb_min, gpu_models=gpu_models or []),
            checkpoint=CheckpointRule(path=checkpoint_path, every_s=checkpoint_every_s),
            budget=Budget(per_hour_micros_max=per_hour_micros_max, total_micros_max=total_micros_max),
            protection=Protection(protection),
        )
        return Job(self.api, submit(self.api, spec, files=Path(files) if files else None, offer_id=offer_id))

    def run_file(self, path: str | Path) -> Job:
        """Submit a job file. Raises gp4u_protocol.job_file.JobFileInvalid with every mistake in it."""
        job_file = read_job_file(Path(path))
        return Job(self.api, submit(self.api, job_file.spec, files=job_file.files))

    def job(self, job_id: str) -> Job:
        """A job by its id. Raises ApiError `not_found`."""
        return Job(self.api, self.api.get(f"/jobs/{job_id}"))

    def jobs(self, limit: int = 50) -> list[Job]:
        """The newest jobs."""
        return [Job(self.api, item) for item in self.api.pages("/jobs", limit=limit)]

    def wallet(self) -> dict[str, Any]:
        """Balance and holds, in micro-units."""
        balance: dict[str, Any] = self.api.get("/wallet")
        return balance
