"""Jobs over HTTP: read, follow live, stop. Only the renter and admins see a job; for others it is not there."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from gp4u_protocol.job_spec import JobSpec
from gp4u_protocol.promise import Promise, promise_of

from gp4u_server.accounts.authenticator import Authenticator
from gp4u_server.accounts.types import Principal
from gp4u_server.accounts.web import CurrentUser
from gp4u_server.catalyst.jobs.live import LiveJobs
from gp4u_server.catalyst.jobs.reading import JobReader
from gp4u_server.catalyst.jobs.schemas import JobEventOut, JobOut, LogPageOut
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.types import JobState
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.db import Database
from gp4u_server.kit.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Page

router = APIRouter(tags=["jobs"])

Reader = Annotated[JobReader, Depends(provided(JobReader))]
Jobs = Annotated[JobService, Depends(provided(JobService))]
Live = Annotated[LiveJobs, Depends(provided(LiveJobs))]
Transactions = Annotated[Database, Depends(provided(Database))]
Limit = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)]
ByteOffset = Annotated[int, Query(ge=0, le=1 << 62)]


def _whose(user: Principal) -> str | None:
    """Whose jobs this caller may see; None: everybody's."""
    return None if user.is_admin else user.user_id


@router.get("/jobs")
async def list_jobs(
    user: CurrentUser,
    session: Session,
    reader: Reader,
    state: Annotated[list[JobState] | None, Query()] = None,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Limit = PAGE_SIZE_DEFAULT,
) -> Page[JobOut]:
    """The caller's jobs, newest first."""
    return await reader.page(session, user.user_id, states=state or [], cursor=cursor, limit=limit)


@router.post("/jobs/promise")
async def promise_job(body: JobSpec) -> Promise:
    """What this job would get when its node dies, and why not more. Nothing is submitted, and nobody need be signed in."""
    return promise_of(body)


@router.get("/jobs/{job_id}")
async def read_job(job_id: str, user: CurrentUser, session: Session, reader: Reader) -> JobOut:
    """One job."""
    return await reader.job(session, _whose(user), job_id)


@router.post("/jobs/{job_id}/stop")
async def stop_job(
    job_id: str, user: CurrentUser, database: Transactions, reader: Reader, jobs: Jobs
) -> JobOut:
    """Stop gracefully: final checkpoint, then end. Harmless on a job that has ended."""
    async with database.transaction() as session:
        shown = await reader.job(session, _whose(user), job_id)
        if not shown.state.is_final:
            await jobs.request_stop(session, job_id, "by_renter")
    # What is shown of a running job comes from Valkey, too: the job's row is not locked while we wait for that.
    async with database.transaction() as session:
        return await reader.job(session, _whose(user), job_id)


@router.get("/jobs/{job_id}/events")
async def list_job_events(
    job_id: str,
    user: CurrentUser,
    session: Session,
    reader: Reader,
    after: Annotated[int, Query(ge=0, le=1 << 62)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> list[JobEventOut]:
    """The timeline, oldest first, after event id `after`."""
    return await reader.timeline(session, _whose(user), job_id, after, limit)


@router.get("/jobs/{job_id}/log")
async def read_job_log(
    job_id: str,
    user: CurrentUser,
    session: Session,
    reader: Reader,
    offset: ByteOffset = 0,
    limit_bytes: Annotated[int, Query(ge=4, le=1 << 20)] = 262_144,
) -> LogPageOut:
    """Output of the job across all its placements, from a byte offset.

    At most 10 MiB a job are kept, the first 5 and the last 5; a hole between them is named in the text.
    """
    return await reader.log(session, _whose(user), job_id, offset, limit_bytes)


@router.get("/jobs/{job_id}/stream", response_class=StreamingResponse)
async def stream_job(
    job_id: str,
    request: Request,
    user: CurrentUser,
    authenticator: Annotated[Authenticator, Depends(provided(Authenticator))],
    database: Transactions,
    reader: Reader,
    live: Live,
    log_offset: ByteOffset = 0,
    last_event_id: Annotated[str | None, Header(max_length=32)] = None,
) -> StreamingResponse:
    """Live updates as server-sent events, until the job has ended and all was sent.

    Events: `job` (a JobOut, on every change), `timeline` (a JobEventOut, id = its id; resumes by Last-Event-ID),
    `log` (a LogPageOut), `metrics` (a MetricsPointOut), `end`.
    """
    async with database.transaction() as session:
        await reader.job(session, _whose(user), job_id)
    after = int(last_event_id) if last_event_id and last_event_id.isdecimal() else 0
    return StreamingResponse(
        live.follow(
            _whose(user),
            job_id,
            after_event=after,
            log_offset=log_offset,
            admitted=partial(authenticator.still_admits, request),
        ),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
