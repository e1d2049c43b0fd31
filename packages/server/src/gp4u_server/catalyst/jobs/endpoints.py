"""Jobs over HTTP: read, follow live, stop, and ask why."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from gp4u_server.catalyst.jobs.schemas import JobEventOut, JobOut, LogPageOut
from gp4u_server.catalyst.jobs.types import JobState
from gp4u_server.kit.paging import Page

router = APIRouter(tags=["jobs"])


@router.get("/jobs")
async def list_jobs(
    state: Annotated[list[JobState] | None, Query()] = None, cursor: str | None = None, limit: int = 50
) -> Page[JobOut]:
    """The caller's jobs, newest first."""
    raise NotImplementedError


@router.get("/jobs/{job_id}")
async def read_job(job_id: str) -> JobOut:
    """One job."""
    raise NotImplementedError


@router.post("/jobs/{job_id}/stop")
async def stop_job(job_id: str) -> JobOut:
    """Stop gracefully: final checkpoint, then end. Harmless on a job that has ended."""
    raise NotImplementedError


@router.get("/jobs/{job_id}/events")
async def list_job_events(job_id: str, after: int = 0, limit: int = 200) -> list[JobEventOut]:
    """The timeline, oldest first, after event id `after`."""
    raise NotImplementedError


@router.get("/jobs/{job_id}/log")
async def read_job_log(job_id: str, offset: int = 0, limit_bytes: int = 262_144) -> LogPageOut:
    """Output of the job across all its placements, from a byte offset."""
    raise NotImplementedError


@router.get("/jobs/{job_id}/stream", response_class=StreamingResponse)
async def stream_job(job_id: str, log_offset: int = 0) -> StreamingResponse:
    """Live updates as server-sent events, until the job has ended and all was sent.

    Events: `job` (a JobOut, on every change), `timeline` (a JobEventOut, id = its id; resumes by Last-Event-ID),
    `log` (a LogPageOut), `metrics` (a MetricsPointOut), `end`.
    """
    raise NotImplementedError
