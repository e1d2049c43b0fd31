"""Nodes over HTTP: enrol, list, remove."""

from fastapi import APIRouter

from gp4u_server.kit.paging import Page
from gp4u_server.nodes.schemas import EnrolmentTokenIn, EnrolmentTokenOut, JoinIn, JoinOut, NodeOut

router = APIRouter(tags=["nodes"])


@router.post("/enrolment-tokens", status_code=201)
async def create_enrolment_token(body: EnrolmentTokenIn) -> EnrolmentTokenOut:
    """A one-time token for `gp4u agent join`. Needs the role owner."""
    raise NotImplementedError


@router.get("/nodes")
async def list_nodes(cursor: str | None = None, limit: int = 50) -> Page[NodeOut]:
    """The caller's nodes."""
    raise NotImplementedError


@router.get("/nodes/{node_id}")
async def read_node(node_id: str) -> NodeOut:
    """One of the caller's nodes."""
    raise NotImplementedError


@router.delete("/nodes/{node_id}", status_code=204)
async def remove_node(node_id: str) -> None:
    """Remove a node: its offers are withdrawn and its key no longer opens a session. 409 while jobs run."""
    raise NotImplementedError


@router.post("/agent/join", status_code=201, tags=["agent"])
async def join(body: JoinIn) -> JoinOut:
    """Enrol a machine with a one-time token. Used by `gp4u agent join`."""
    raise NotImplementedError
