"""Checkpoints and job files over HTTP, for renters. The agent's side is in agent_endpoints.py."""

from fastapi import APIRouter

from gp4u_server.catalyst.checkpoints.schemas import CheckpointOut, UploadIn, UploadOut
from gp4u_server.kit.paging import Page

router = APIRouter(tags=["checkpoints"])


@router.post("/uploads", status_code=201)
async def create_upload(body: UploadIn) -> UploadOut:
    """Announce the folder of a job (tar.zst). Content-addressed: the same bytes are uploaded once."""
    raise NotImplementedError


@router.get("/jobs/{job_id}/checkpoints")
async def list_checkpoints(job_id: str, cursor: str | None = None, limit: int = 50) -> Page[CheckpointOut]:
    """Committed checkpoints, newest first."""
    raise NotImplementedError
