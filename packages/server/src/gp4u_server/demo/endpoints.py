"""Chaos for everybody: real kills and real cuts of demo nodes."""

from fastapi import APIRouter

from gp4u_server.demo.schemas import DemoLinkIn, DemoNodeOut

router = APIRouter(tags=["demo"], prefix="/demo")


@router.get("/nodes")
async def list_demo_nodes() -> list[DemoNodeOut]:
    """The demo fleet."""
    raise NotImplementedError


@router.post("/nodes/{name}/kill")
async def kill_node(name: str) -> DemoNodeOut:
    """kill -9 of the node's agent, its shims and its jobs. It is started again half a minute later."""
    raise NotImplementedError


@router.post("/nodes/{name}/revive")
async def revive_node(name: str) -> DemoNodeOut:
    """Start a killed node's agent now."""
    raise NotImplementedError


@router.post("/nodes/{name}/link")
async def set_link(name: str, body: DemoLinkIn) -> DemoNodeOut:
    """Cut, slow, or heal the node's link: all its traffic goes through a fault proxy."""
    raise NotImplementedError
