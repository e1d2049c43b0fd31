"""The Python SDK: the same nouns and verbs as the command and the API. `gp4u.async_sdk` is its twin."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

from gp4u_protocol.job_file import read_job_file

from gp4u.api import ApiClient
from gp4u.following import Update, follow, read_timeline
from gp4u.handles import JobHandle, JobOptions, credentials_for, spec_of
from gp4u.submission import submit
from gp4u.telemetry import TelemetryQuery, telemetry_params


class Job(JobHandle):
    """A handle on one job."""

    def __init__(self, api: ApiClient, data: dict[str, Any]) -> None:
        self._api = api
        self.data = data

    def refresh(self) -> "Job":
        """Read the job again."""
        self.data = self._api.get(f"/jobs/{self.id}")
        return self

    def updates(self) -> Iterator[Update]:
        """Live updates until the job has ended."""
        return follow(self._api, self.id)

    def wait(self) -> "Job":
        """Return when the job has ended."""
        if not self.has_ended:
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
        return read_timeline(self._api, self.id)

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
        self.api = ApiClient(credentials_for(url, api_key))

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
        files: str | Path | None = None,
        offer_id: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Submit a job. Raises ApiError, or pydantic.ValidationError for impossible values."""
        spec = spec_of(command, **options)
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

    def node_telemetry(self, node_id: str, **query: Unpack[TelemetryQuery]) -> dict[str, Any]:
        """Readings of a node of yours and its GPUs (`GET /nodes/{id}/telemetry`): series with mean, low and high.

        The last hour by default. Raises ApiError `node_not_found`.
        """
        told: dict[str, Any] = self.api.get(f"/nodes/{node_id}/telemetry", **telemetry_params(query))
        return told

    def node_events(self, node_id: str, limit: int = 50) -> list[dict[str, Any]]:
        """What happened to the GPUs of a node of yours, the newest first. Raises ApiError `node_not_found`."""
        return list(self.api.pages(f"/nodes/{node_id}/events", limit=limit))

    def node_score(self, node_id: str) -> dict[str, Any]:
        """A node's reliability and uptime with interval and sample size. Raises ApiError `node_not_found`."""
        score: dict[str, Any] = self.api.get(f"/nodes/{node_id}/score")
        return score

    def node_score_changes(self, node_id: str, limit: int = 50) -> list[dict[str, Any]]:
        """What changed the score of a node of yours, the newest first. Raises ApiError `node_not_found`."""
        return list(self.api.pages(f"/nodes/{node_id}/score/changes", limit=limit))

    def node_incidents(self, node_id: str, limit: int = 50) -> list[dict[str, Any]]:
        """Losses and failures on a node of yours, the newest first, and what each is attributed to, on what evidence.

        Raises ApiError `node_not_found`.
        """
        return list(self.api.pages(f"/nodes/{node_id}/incidents", limit=limit))
