"""Why a job runs where it runs, over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends

from gp4u_server.accounts.web import CurrentUser
from gp4u_server.catalyst.jobs.errors import JobNotFound
from gp4u_server.catalyst.jobs.schemas import CandidateOut, DecisionOut
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.routing.service import Router
from gp4u_server.foundation.web import Session, provided

router = APIRouter(tags=["jobs"])


@router.get("/jobs/{job_id}/decisions")
async def list_decisions(
    job_id: str,
    user: CurrentUser,
    session: Session,
    jobs: Annotated[JobService, Depends(provided(JobService))],
    routing: Annotated[Router, Depends(provided(Router))],
) -> list[DecisionOut]:
    """Why the job runs where it runs: every decision with every candidate's numbers, newest first."""
    job = await jobs.get(session, job_id)
    if job.renter_id != user.user_id and not user.is_admin:
        raise JobNotFound(f"There is no job {job_id} among yours.")
    return [
        DecisionOut(
            id=row.id,
            epoch=row.epoch,
            at=row.at,
            took_ms=row.took_ms,
            summary=row.summary,
            candidates_count=row.candidates_count,
            failed_counts=row.failed_counts,
            candidates=[CandidateOut(**candidate) for candidate in row.candidates],
        )
        for row in await routing.decisions_of(session, job.id)
    ]
