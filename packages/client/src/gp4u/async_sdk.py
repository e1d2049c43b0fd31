"""`gp4u.sdk` for programs with an event loop: the same nouns and verbs, awaited."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Unpack

import httpx2
from gp4u_protocol.job_file import read_job_file

from gp4u.async_api import AsyncApiClient
from gp4u.following import Update, follow_async, read_timeline_async
from gp4u.handles import JobHandle, JobOptions, credentials_for, spec_of
from gp4u.submission import submit_async
from gp4u.telemetry import TelemetryQuery, telemetry_params


class AsyncJob(JobHandle):
    """A handle on one job; see `gp4u.sdk.Job`."""

    def __init__(self, api: AsyncApiClient, data: dict[str, Any]) -> None:
        self._api = api
        self.data = data

    async def refresh(self) -> "AsyncJob":
        """Read the job again."""
        self.data = await self._api.get(f"/jobs/{self.id}")
        return self

    def updates(self) -> AsyncIterator[Update]:
        """Live updates until the job has ended."""
        return follow_async(self._api, self.id)

    async def wait(self) -> "AsyncJob":
        """Return when the job has ended."""
        if not self.has_ended:
            async for _ in self.updates():
                pass
        return await self.refresh()

    async def log(self, offset: int = 0) -> str:
        """The whole output so far, from a byte offset."""
        parts = []
        while True:
            page = await self._api.get(f"/jobs/{self.id}/log", offset=offset)
            parts.append(page["text"])
            if page["next_offset"] == offset:
                return "".join(parts)
            offset = page["next_offset"]

    async def timeline(self) -> list[dict[str, Any]]:
        """Everything that happened to the job so far."""
        return await read_timeline_async(self._api, self.id)

    async def decisions(self) -> list[dict[str, Any]]:
        """Why it runs where it runs."""
        found: list[dict[str, Any]] = await self._api.get(f"/jobs/{self.id}/decisions")
        return found

    async def stop(self) -> "AsyncJob":
        """Stop gracefully after a final checkpoint."""
        self.data = await self._api.post(f"/jobs/{self.id}/stop")
        return self


class AsyncClient:
    """A marketplace as a renter sees it; see `gp4u.sdk.Client`.

    Args:
        url: the marketplace; by default what `gp4u login` stored, or GP4U_URL.
        api_key: a key of yours; by default the stored sign-in, or GP4U_API_KEY.
        transport: how requests travel, where not over the network.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.api = AsyncApiClient(credentials_for(url, api_key), transport=transport)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self.api.close()

    async def search(self, query: str = "", limit: int = 50) -> list[dict[str, Any]]:
        """Offers that match a query line, e.g. `gpu_model=RTX_4090 price<=0.60`."""
        return [offer async for offer in self.api.pages("/offers", q=query or None, limit=limit)]

    async def run(
        self,
        command: str,
        *,
        files: str | Path | None = None,
        offer_id: str | None = None,
        **options: Unpack[JobOptions],
    ) -> AsyncJob:
        """Submit a job. Raises ApiError, or pydantic.ValidationError for impossible values."""
        spec = spec_of(command, **options)
        folder = Path(files) if files else None
        return AsyncJob(self.api, await submit_async(self.api, spec, files=folder, offer_id=offer_id))

    async def run_file(self, path: str | Path) -> AsyncJob:
        """Submit a job file. Raises gp4u_protocol.job_file.JobFileInvalid with every mistake in it."""
        job_file = await asyncio.to_thread(read_job_file, Path(path))
        return AsyncJob(self.api, await submit_async(self.api, job_file.spec, files=job_file.files))

    async def job(self, job_id: str) -> AsyncJob:
        """A job by its id. Raises ApiError `not_found`."""
        return AsyncJob(self.api, await self.api.get(f"/jobs/{job_id}"))

    async def jobs(self, limit: int = 50) -> list[AsyncJob]:
        """The newest jobs."""
        return [AsyncJob(self.api, item) async for item in self.api.pages("/jobs", limit=limit)]

    async def wallet(self) -> dict[str, Any]:
        """Balance and holds, in micro-units."""
        balance: dict[str, Any] = await self.api.get("/wallet")
        return balance

    async def node_telemetry(self, node_id: str, **query: Unpack[TelemetryQuery]) -> dict[str, Any]:
        """Readings of a node of yours and its GPUs (`GET /nodes/{id}/telemetry`): series with mean, low and high.

        The last hour by default. Raises ApiError `node_not_found`.
        """
        told: dict[str, Any] = await self.api.get(f"/nodes/{node_id}/telemetry", **telemetry_params(query))
        return told

    async def node_events(self, node_id: str, limit: int = 50) -> list[dict[str, Any]]:
        """What happened to the GPUs of a node of yours, the newest first. Raises ApiError `node_not_found`."""
        return [event async for event in self.api.pages(f"/nodes/{node_id}/events", limit=limit)]

    async def node_score(self, node_id: str) -> dict[str, Any]:
        """A node's reliability and uptime with interval and sample size. Raises ApiError `node_not_found`."""
        score: dict[str, Any] = await self.api.get(f"/nodes/{node_id}/score")
        return score

    async def node_score_changes(self, node_id: str, limit: int = 50) -> list[dict[str, Any]]:
        """What changed the score of a node of yours, the newest first. Raises ApiError `node_not_found`."""
        return [item async for item in self.api.pages(f"/nodes/{node_id}/score/changes", limit=limit)]

    async def node_incidents(self, node_id: str, limit: int = 50) -> list[dict[str, Any]]:
        """Losses and failures on a node of yours, the newest first, and what each is attributed to, on what evidence.

        Raises ApiError `node_not_found`.
        """
        return [item async for item in self.api.pages(f"/nodes/{node_id}/incidents", limit=limit)]
