"""What a node that stands by may read, over HTTP. Fenced by the standby: of its job only, and only while it stands by."""

from typing import Annotated

from fastapi import APIRouter, Depends

from gp4u_server.catalyst.standby.schemas import StandbyDownloadOut, StandbyFolderOut
from gp4u_server.catalyst.standby.service import StandbyService
from gp4u_server.foundation.web import provided
from gp4u_server.kit.db import Database
from gp4u_server.nodes.web import Agent

router = APIRouter(prefix="/agent", tags=["agent"])

Standbys = Annotated[StandbyService, Depends(provided(StandbyService))]
Db = Annotated[Database, Depends(provided(Database))]


@router.get("/standbys/{standby_id}/download")
async def download_for_standby(
    standby_id: str, agent: Agent, standbys: Standbys, database: Db
) -> StandbyDownloadOut:
    """Read-only addresses of the job's newest checkpoint, as it is sealed, and of its folder. They live for minutes."""
    async with database.transaction() as session:
        job_id, found = await standbys.find_objects(session, agent.node_id, standby_id)
    sealed, folder = await standbys.objects.sign(found)
    return StandbyDownloadOut(
        standby_id=standby_id,
        job_id=job_id,
        checkpoint_id=sealed.checkpoint.checkpoint_id if sealed else None,
        epoch=sealed.checkpoint.epoch if sealed else None,
        seq=sealed.checkpoint.seq if sealed else None,
        manifest_url=sealed.manifest_url if sealed else None,
        manifest_blake3=sealed.manifest_blake3 if sealed else None,
        packs=dict(sealed.packs) if sealed else {},
        folder=StandbyFolderOut(url=folder.url, size_bytes=folder.size_bytes, blake3=folder.blake3)
        if folder
        else None,
    )
