"""Checkpoints and job files over HTTP, for agents. Every call is fenced by placement and epoch.

No transaction is open while the store is asked or an address is signed.
"""

import base64
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from gp4u_server.catalyst.checkpoints.errors import UploadNotFound
from gp4u_server.catalyst.checkpoints.ports import SignedPut
from gp4u_server.catalyst.checkpoints.schemas import (
    AddressOut,
    AgentDownloadOut,
    AgentUploadOut,
    CommitIn,
    CommittedOut,
    DamageIn,
    DumpOut,
    FenceIn,
    ManifestIn,
    OpenedOut,
    OriginOut,
    PackAddressesOut,
    PackAddressOut,
    PacksIn,
    RestorePointOut,
    RestorePointsOut,
)
from gp4u_server.catalyst.checkpoints.service import ADDRESS_TTL_S, CheckpointService, Fence
from gp4u_server.catalyst.checkpoints.types import Announced, Commit
from gp4u_server.foundation.web import provided
from gp4u_server.kit.db import Database
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.web import Agent, AgentPrincipal

router = APIRouter(prefix="/agent", tags=["agent"])

Checkpoints = Annotated[CheckpointService, Depends(provided(CheckpointService))]
Nodes = Annotated[NodeService, Depends(provided(NodeService))]
Db = Annotated[Database, Depends(provided(Database))]


async def _query_fence(
    agent: Agent,
    placement_id: Annotated[str, Query(min_length=1, max_length=64)],
    epoch: Annotated[int, Query(ge=1, lt=1 << 62)],
) -> Fence:
    return Fence(agent.node_id, placement_id, epoch)


QueryFence = Annotated[Fence, Depends(_query_fence)]


@router.post("/checkpoints/open", status_code=201)
async def open_upload(body: FenceIn, agent: Agent, checkpoints: Checkpoints, database: Db) -> OpenedOut:
    """Begin a snapshot: it is recorded before its first byte."""
    async with database.transaction() as session:
        upload = await checkpoints.open_upload(session, _fence(agent, body))
    return OpenedOut(upload_id=upload.id, seq=upload.seq)


@router.post("/checkpoints/packs")
async def announce_packs(
    body: PacksIn, agent: Agent, checkpoints: Checkpoints, database: Db
) -> PackAddressesOut:
    """Announce packs and get the addresses that take them. Asking again gives fresh addresses."""
    packs = [Announced(pack.id, pack.size_bytes) for pack in body.packs]
    async with database.transaction() as session:
        upload = await checkpoints.announce_packs(session, _fence(agent, body), body.upload_id, packs)
    signed = await checkpoints.sign_packs(upload, packs)
    return PackAddressesOut(
        packs=[
            PackAddressOut(id=pack_id, url=address.url, headers=address.headers)
            for pack_id, address in signed.items()
        ]
    )


@router.post("/checkpoints/manifest")
async def sign_manifest(body: ManifestIn, agent: Agent, checkpoints: Checkpoints, database: Db) -> AddressOut:
    """The address that takes the manifest."""
    async with database.transaction() as session:
        upload = await checkpoints.note_manifest(session, _fence(agent, body), body.upload_id, body.blake3)
    return _address(await checkpoints.sign_manifest(upload, body.blake3, body.size_bytes))


@router.post("/checkpoints/commit", status_code=201)
async def commit_checkpoint(
    body: CommitIn, agent: Agent, checkpoints: Checkpoints, nodes: Nodes, database: Db
) -> CommittedOut:
    """Make the checkpoint exist: once every object it names is found stored, under the current epoch."""
    fence = _fence(agent, body)
    commit = Commit(
        upload_id=body.upload_id,
        blake3=body.blake3,
        manifest_bytes=body.size_bytes,
        packs=tuple(Announced(pack.id, pack.size_bytes) for pack in body.packs),
        files=body.files,
        content_bytes=body.content_bytes,
        step=body.step,
        trigger=body.trigger,
        pace=body.pace.model_dump() if body.pace else None,
    )
    async with database.transaction() as session:
        upload = await checkpoints.find_upload(session, fence, body.upload_id)
        identity = await nodes.identity(session, agent.node_id) if body.transparent else None
    if body.transparent:
        assert identity is not None  # the fence knows the node
        made_by = body.transparent.model_dump(mode="json")
        signed_by = base64.b64encode(identity.public_key).decode()
        commit = replace(commit, transparent={"made_by": made_by, "signed_by": signed_by})
    await checkpoints.check_stored(upload, commit)
    async with database.transaction() as session:
        committed = await checkpoints.commit(session, fence, commit)
    return CommittedOut(
        id=committed.id, epoch=committed.epoch, seq=committed.seq, committed_at=committed.committed_at
    )


@router.get("/checkpoints")
async def list_restore_points(fence: QueryFence, checkpoints: Checkpoints, database: Db) -> RestorePointsOut:
    """What the placement may start from, by (epoch, seq), newest first."""
    async with database.transaction() as session:
        job_id = (await checkpoints.pass_fence(session, fence)).job_id
        points = await checkpoints.restore_points(session, fence)
    return RestorePointsOut(
        items=[
            RestorePointOut(
                id=point.id,
                epoch=point.epoch,
                seq=point.seq,
                manifest_blake3=point.manifest_blake3,
                step=point.step,
                origin_job_id=point.job_id if point.job_id != job_id else None,
                transparent=DumpOut(signed_by=point.transparent["signed_by"]) if point.transparent else None,
                damaged=point.damaged_at is not None,
            )
            for point in points
        ]
    )


@router.get("/checkpoints/{checkpoint_id}/download")
async def download_restore_point(
    checkpoint_id: str, fence: QueryFence, checkpoints: Checkpoints, database: Db
) -> AgentDownloadOut:
    """Addresses of a checkpoint of this placement's job, or of the one that it was forked from."""
    async with database.transaction() as session:
        found, origin_key = await checkpoints.restore_point(session, fence, checkpoint_id)
    download = await checkpoints.sign_download(found)
    return AgentDownloadOut(
        id=found.id,
        epoch=found.epoch,
        seq=found.seq,
        manifest_url=download.manifest_url,
        manifest_blake3=found.manifest_blake3,
        packs=download.pack_urls,
        origin=None
        if origin_key is None
        else OriginOut(job_id=found.job_id, data_key=base64.b64encode(origin_key).decode()),
    )


@router.post("/checkpoints/{checkpoint_id}/damaged", status_code=204)
async def report_damage(
    checkpoint_id: str, body: DamageIn, agent: Agent, checkpoints: Checkpoints, database: Db
) -> None:
    """A checkpoint did not verify here."""
    async with database.transaction() as session:
        await checkpoints.record_damage(session, _fence(agent, body), checkpoint_id, body.detail)


@router.get("/uploads/{upload_id}")
async def read_upload(upload_id: str, agent: Agent, checkpoints: Checkpoints, database: Db) -> AgentUploadOut:
    """The folder sent with a job, while a live placement of this node needs it."""
    async with database.transaction() as session:
        upload, key = await checkpoints.find_job_upload_for_node(session, agent.node_id, upload_id)
    if await checkpoints.store.size_of(key) != upload.size_bytes:
        raise UploadNotFound("The job's folder was announced and never arrived.")
    url = await checkpoints.store.sign_get(key, expires_in_s=ADDRESS_TTL_S)
    return AgentUploadOut(url=url, size_bytes=upload.size_bytes, blake3=upload.blake3)


def _fence(agent: AgentPrincipal, body: FenceIn) -> Fence:
    return Fence(agent.node_id, body.placement_id, body.epoch)


def _address(signed: SignedPut) -> AddressOut:
    return AddressOut(url=signed.url, headers=signed.headers)
