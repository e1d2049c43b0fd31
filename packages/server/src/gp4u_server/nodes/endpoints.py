"""Nodes over HTTP: enrol, list, remove."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from gp4u_server.accounts.types import Principal, Role
from gp4u_server.accounts.web import require
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.paging import PAGE_SIZE_MAX, Page, decode_cursor, encode_cursor
from gp4u_server.nodes.addresses import PublicAddress
from gp4u_server.nodes.duty import shown_state
from gp4u_server.nodes.schemas import (
    DeviceOut,
    DrainIn,
    EnrolmentTokenIn,
    EnrolmentTokenOut,
    JoinIn,
    JoinOut,
    NodeOut,
    WindowOut,
)
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import MaintenanceWindow, NodeView

router = APIRouter(tags=["nodes"])

Owner = Annotated[Principal, Depends(require(Role.OWNER, Role.OPERATOR))]
OwnerOrAdmin = Annotated[Principal, Depends(require(Role.OWNER, Role.OPERATOR, Role.ADMIN))]
Nodes = Annotated[NodeService, Depends(provided(NodeService))]


Address = Annotated[PublicAddress, Depends(provided(PublicAddress))]


@router.post("/enrolment-tokens", status_code=201)
async def create_enrolment_token(
    body: EnrolmentTokenIn, owner: Owner, session: Session, nodes: Nodes, address: Address
) -> EnrolmentTokenOut:
    """A one-time token for `gp4u agent join`. Needs the role owner."""
    made = await nodes.create_enrolment_token(
        session, owner.user_id, region=body.region, node_name=body.node_name
    )
    return EnrolmentTokenOut(
        token=made.token,
        expires_at=made.expires_at,
        # All that the machine needs, in one line to paste.
        command=f"pip install gp4u-agent && gp4u agent join {address.url.rstrip('/')} --token {made.token}"
        " && gp4u agent run",
    )


@router.get("/nodes")
async def list_nodes(
    owner: Owner,
    session: Session,
    nodes: Nodes,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = 50,
) -> Page[NodeOut]:
    """The caller's nodes, newest first."""
    before_id = str(decode_cursor(cursor, str)[0]) if cursor else None
    views = await nodes.list_owned(session, owner.user_id, before_id=before_id, limit=limit + 1)
    page = views[:limit]
    return Page(
        items=[node_out(view) for view in page],
        next_cursor=encode_cursor(page[-1].id) if len(views) > limit else None,
    )


@router.get("/nodes/{node_id}")
async def read_node(node_id: str, owner: Owner, session: Session, nodes: Nodes) -> NodeOut:
    """One of the caller's nodes."""
    return node_out(await nodes.read_owned(session, owner.user_id, node_id))


@router.delete("/nodes/{node_id}", status_code=204)
async def remove_node(node_id: str, owner: Owner, session: Session, nodes: Nodes) -> None:
    """Remove a node: its offers are withdrawn and its key no longer opens a session. 409 while jobs run."""
    await nodes.remove(session, owner.user_id, node_id)


@router.post("/nodes/{node_id}/drain")
async def drain_node(
    node_id: str, user: OwnerOrAdmin, session: Session, nodes: Nodes, body: DrainIn | None = None
) -> NodeOut:
    """Take the node out of service: no new jobs, and those that run are moved. Then it is in maintenance, and may be
    switched off. Asked again, it changes reason and deadline."""
    wish = body or DrainIn()
    await nodes.drain(session, node_id, owner_id=_whose(user), reason=wish.reason, within_s=wish.within_s)
    return node_out(await nodes.view(session, node_id))


@router.post("/nodes/{node_id}/undrain")
async def undrain_node(node_id: str, user: OwnerOrAdmin, session: Session, nodes: Nodes) -> NodeOut:
    """Put the node back into service, from drain, maintenance or quarantine."""
    await nodes.undrain(session, node_id, owner_id=_whose(user))
    return node_out(await nodes.view(session, node_id))


@router.post("/agent/join", status_code=201, tags=["agent"])
async def join(body: JoinIn, session: Session, nodes: Nodes, address: Address) -> JoinOut:
    """Enrol a machine with a one-time token. Used by `gp4u agent join`."""
    joined = await nodes.join(
        session,
        token=body.token,
        public_key=body.public_key,
        signature=body.signature,
        facts=body.facts,
        name=body.name,
    )
    return JoinOut(
        node_id=joined.node_id,
        name=joined.name,
        gateway_urls=address.gateway_urls,
        api_urls=list(address.apis),
    )


def _whose(user: Principal) -> str | None:
    return None if user.is_admin else user.user_id


def window_out(window: MaintenanceWindow) -> WindowOut:
    """A window as its owner sees it."""
    return WindowOut(
        id=window.id,
        starts_at=window.starts_at,
        ends_at=window.ends_at,
        reason=window.reason,
        state=window.state,
    )


def node_out(view: NodeView) -> NodeOut:
    """A node as its owner sees it."""
    record = view.record
    return NodeOut(
        id=view.id,
        name=view.name,
        owner_id=view.owner_id,
        region=view.region,
        status=view.status,
        findings=list(view.findings),
        liveness=view.liveness,
        duty=view.duty,
        state=shown_state(view.liveness, view.duty),
        duty_reason=view.duty_reason,
        duty_since=view.duty_since,
        drain_deadline_at=view.drain_deadline_at,
        quarantined_until=view.quarantined_until,
        simulated=view.simulated,
        cpus=view.cpus,
        memory_gb=view.memory_gb,
        cpu_model=view.cpu_model,
        runtimes=view.runtimes,
        devices=[
            DeviceOut(
                id=device.id,
                uuid=device.uuid,
                model=device.model,
                vram_gb=device.vram_gb,
                simulated=device.simulated,
                in_use=device.in_use,
                fault=device.fault,
                back_at=device.back_at,
            )
            for device in view.devices
        ],
        maintenance_until=view.maintenance_until,
        windows=[window_out(window) for window in view.windows],
        in_pool=view.in_pool,
        reliability=round(record.reliability, 6),
        reliability_low=round(record.reliability_low, 6),
        reliability_high=round(record.reliability_high, 6),
        uptime=None if record.uptime is None else round(record.uptime, 6),
        seen_s=round(record.seen_s, 3),
        record=record.sentence,
        losses=view.losses,
        host_losses=view.host_losses,
        network_losses=view.network_losses,
        lease_ttl_s=view.lease_ttl_s,
        lease_ttl_why=view.lease_ttl_why,
        watched_reason=view.watched_reason,
        online_s=round(view.online_s, 3),
        last_seen_at=view.last_seen_at,
        enrolled_at=view.enrolled_at,
        running_jobs=view.running_jobs,
    )
