"""Checkpoints and job files over HTTP, for renters. The agent's side is in agent_endpoints.py."""

import base64
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from gp4u_server.accounts.types import Principal
from gp4u_server.accounts.web import CurrentUser
from gp4u_server.catalyst.checkpoints.choosing import CheckpointChoices
from gp4u_server.catalyst.checkpoints.schemas import (
    CheckpointDownloadOut,
    CheckpointOut,
    UploadIn,
    UploadOut,
)
from gp4u_server.catalyst.checkpoints.service import CheckpointService
from gp4u_server.catalyst.checkpoints.types import CheckpointView
from gp4u_server.catalyst.jobs.errors import JobNotFound
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.db import Database
from gp4u_server.kit.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Page, decode_cursor, encode_cursor

router = APIRouter(tags=["checkpoints"])

Checkpoints = Annotated[CheckpointService, Depends(provided(CheckpointService))]
Jobs = Annotated[JobService, Depends(provided(JobService))]
Choices = Annotated[CheckpointChoices, Depends(provided(CheckpointChoices))]
Db = Annotated[Database, Depends(provided(Database))]


@router.post("/uploads", status_code=201)
async def create_upload(
    body: UploadIn, user: CurrentUser, checkpoints: Checkpoints, database: Db
) -> UploadOut:
    """Announce the folder of a job (tar.zst). Content-addressed: the same bytes are uploaded once."""
    async with database.transaction() as session:
        upload = await checkpoints.find_or_create_job_upload(
            session, user.user_id, body.blake3, body.size_bytes
        )
    stored = await checkpoints.stored_size(user.user_id, upload.id)
    if stored == upload.size_bytes:
        return UploadOut(id=upload.id, put_url=None)
    if stored is not None:  # something else was put there; objects are never overwritten, so start afresh
        async with database.transaction() as session:
            upload = await checkpoints.find_or_create_job_upload(
                session, user.user_id, body.blake3, body.size_bytes, fresh=True
            )
    address = await checkpoints.sign_job_upload(user.user_id, upload)
    return UploadOut(id=upload.id, put_url=address.url, headers=address.headers)


@router.get("/jobs/{job_id}/checkpoints")
async def list_checkpoints(
    job_id: str,
    user: CurrentUser,
    session: Session,
    checkpoints: Checkpoints,
    jobs: Jobs,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = PAGE_SIZE_DEFAULT,
) -> Page[CheckpointOut]:
    """Committed checkpoints, newest first."""
    await _own(session, jobs, user, job_id, admins=True)
    before: tuple[int, int] | None = None
    if cursor is not None:
        epoch, seq = decode_cursor(cursor, int, int)
        before = (int(epoch), int(seq))
    found = await checkpoints.newest(session, job_id, limit + 1, before)
    page = found[:limit]
    more = len(found) > limit
    return Page(
        items=[_out(view) for view in page],
        next_cursor=encode_cursor(page[-1].epoch, page[-1].seq) if more else None,
    )


@router.get("/jobs/{job_id}/checkpoints/{checkpoint_id}")
async def read_checkpoint(
    job_id: str, checkpoint_id: str, user: CurrentUser, session: Session, checkpoints: Checkpoints, jobs: Jobs
) -> CheckpointOut:
    """One committed checkpoint."""
    await _own(session, jobs, user, job_id, admins=True)
    return _out(await checkpoints.get(session, job_id, checkpoint_id))


@router.post("/jobs/{job_id}/checkpoints/{checkpoint_id}/pin")
async def pin_checkpoint(
    job_id: str, checkpoint_id: str, user: CurrentUser, session: Session, choices: Choices
) -> CheckpointOut:
    """Keep a checkpoint until it is unpinned, whatever the job's rule says and also after the job's end."""
    return _out(await choices.pin(session, user.user_id, job_id, checkpoint_id))


@router.post("/jobs/{job_id}/checkpoints/{checkpoint_id}/unpin")
async def unpin_checkpoint(
    job_id: str, checkpoint_id: str, user: CurrentUser, session: Session, choices: Choices
) -> CheckpointOut:
    """Let the job's rule decide about a checkpoint again."""
    return _out(await choices.unpin(session, user.user_id, job_id, checkpoint_id))


@router.post("/jobs/{job_id}/checkpoints/{checkpoint_id}/download")
async def download_checkpoint(
    job_id: str,
    checkpoint_id: str,
    user: CurrentUser,
    checkpoints: Checkpoints,
    jobs: Jobs,
    database: Db,
) -> CheckpointDownloadOut:
    """Addresses and key to read a checkpoint back on your own machine. Only for the job's renter."""
    async with database.transaction() as session:
        await _own(session, jobs, user, job_id, admins=False)
        found = await checkpoints.get(session, job_id, checkpoint_id)
        data_key = await jobs.data_key(session, job_id)
    download = await checkpoints.sign_download(found)
    return CheckpointDownloadOut(
        id=found.id,
        job_id=job_id,
        epoch=found.epoch,
        seq=found.seq,
        data_key=base64.b64encode(data_key).decode(),
        manifest_url=download.manifest_url,
        manifest_blake3=found.manifest_blake3,
        packs=download.pack_urls,
    )


async def _own(session: Session, jobs: JobService, user: Principal, job_id: str, *, admins: bool) -> None:
    job = await jobs.get(session, job_id)
    if job.renter_id != user.user_id and not (admins and user.is_admin):
        raise JobNotFound(f"There is no job {job_id} among yours.")


def _out(view: CheckpointView) -> CheckpointOut:
    return CheckpointOut(
        id=view.id,
        job_id=view.job_id,
        epoch=view.epoch,
        seq=view.seq,
        committed_at=view.committed_at,
        files=view.files,
        size_bytes=view.size_bytes,
        stored_bytes=view.stored_bytes,
        step=view.step,
        trigger=view.trigger,
        node_name=view.node_name,
        damaged_at=view.damaged_at,
        pinned_at=view.pinned_at,
        transparent=view.transparent is not None,
    )
