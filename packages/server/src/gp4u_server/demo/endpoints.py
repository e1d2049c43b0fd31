"""Chaos for everybody: real kills and real cuts of demo nodes. Anybody who is signed in may play."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from gp4u_server.accounts.web import CurrentUser
from gp4u_server.demo.control import FleetControl
from gp4u_server.demo.schemas import DemoFaultIn, DemoLinkIn, DemoNodeOut
from gp4u_server.foundation.web import provided
from gp4u_server.kit.errors import NotFound
from gp4u_server.settings import Settings

router = APIRouter(tags=["demo"], prefix="/demo")


def fleet_control(settings: Annotated[Settings, Depends(provided(Settings))]) -> FleetControl:
    """The demo's fleet. Raises NotFound where there is no demo."""
    if not settings.demo or settings.demo_socket is None:
        raise NotFound("There is no demo fleet here; `gp4u up --demo` starts one.")
    return FleetControl(settings.demo_socket)


Control = Annotated[FleetControl, Depends(fleet_control)]


@router.get("/nodes")
async def list_demo_nodes(user: CurrentUser, control: Control) -> list[DemoNodeOut]:
    """The demo fleet."""
    return [DemoNodeOut(**node) for node in await control.ask("list")]


@router.post("/nodes/{name}/kill")
async def kill_node(user: CurrentUser, control: Control, name: str, stay_dead: bool = False) -> DemoNodeOut:
    """kill -9 of the node's agent, its shims and its jobs. It is started again half a minute later.

    A node that is lost three times within an hour is quarantined, in the demo as anywhere: `revive` ends that.
    """
    return _out(await control.ask("kill", name=name, stay_dead=stay_dead))


@router.post("/nodes/{name}/revive")
async def revive_node(user: CurrentUser, control: Control, name: str) -> DemoNodeOut:
    """Start a killed node's agent now, and end the quarantine of a node that was killed too often."""
    return _out(await control.ask("revive", name=name))


@router.post("/nodes/{name}/link")
async def set_link(user: CurrentUser, control: Control, name: str, body: DemoLinkIn) -> DemoNodeOut:
    """Cut, slow, or heal the node's link: all its traffic goes through a fault proxy."""
    return _out(await control.ask("link", name=name, **body.model_dump()))


@router.post("/nodes/{name}/fault")
async def fault_device(user: CurrentUser, control: Control, name: str, body: DemoFaultIn) -> DemoNodeOut:
    """Let a simulated GPU show signs of failing. The node is drained before it dies: its jobs checkpoint and move."""
    return _out(await control.ask("fault", name=name, **body.model_dump()))


@router.post("/nodes/{name}/repair")
async def repair_node(user: CurrentUser, control: Control, name: str) -> DemoNodeOut:
    """Make the node's GPUs as new, and put it back into service."""
    return _out(await control.ask("repair", name=name))


def _out(node: dict[str, Any]) -> DemoNodeOut:
    return DemoNodeOut(**node)
