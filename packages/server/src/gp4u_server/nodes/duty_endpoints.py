"""A node's duty over HTTP: maintenance windows, and the replacement pool."""

from fastapi import APIRouter

from gp4u_server.accounts.types import Principal
from gp4u_server.foundation.web import Session
from gp4u_server.nodes.endpoints import Nodes, OwnerOrAdmin, node_out, window_out
from gp4u_server.nodes.schemas import MaintenanceIn, NodeOut, WindowOut

router = APIRouter(tags=["nodes"])


@router.post("/nodes/{node_id}/maintenance", status_code=201)
async def plan_maintenance(
    node_id: str, body: MaintenanceIn, user: OwnerOrAdmin, session: Session, nodes: Nodes
) -> WindowOut:
    """Plan a maintenance window: jobs are moved before it begins, the node takes nothing that would run into it, and is
    back in service by itself after it. 422 `window_invalid` when it overlaps another one."""
    window = await nodes.plan_window(
        session,
        node_id,
        owner_id=_whose(user),
        starts_at=body.starts_at,
        duration_s=body.duration_s,
        reason=body.reason,
    )
    return window_out(window)


@router.delete("/nodes/{node_id}/maintenance/{window_id}", status_code=204)
async def cancel_maintenance(
    node_id: str, window_id: str, user: OwnerOrAdmin, session: Session, nodes: Nodes
) -> None:
    """Cancel a window: jobs that have notice for it may stay, and a node that is out of service for it is back in."""
    await nodes.cancel_window(session, node_id, window_id, owner_id=_whose(user))


@router.put("/nodes/{node_id}/pool")
async def join_pool(node_id: str, user: OwnerOrAdmin, session: Session, nodes: Nodes) -> NodeOut:
    """Put the node into the replacement pool: it takes only on-demand jobs that lost their node, at its offer's price, and
    those are offered it before the market. Jobs that run there stay."""
    await nodes.set_pool(session, node_id, owner_id=_whose(user), in_pool=True)
    return node_out(await nodes.view(session, node_id))


@router.delete("/nodes/{node_id}/pool")
async def leave_pool(node_id: str, user: OwnerOrAdmin, session: Session, nodes: Nodes) -> NodeOut:
    """Take the node out of the replacement pool: it is on the market again."""
    await nodes.set_pool(session, node_id, owner_id=_whose(user), in_pool=False)
    return node_out(await nodes.view(session, node_id))


def _whose(user: Principal) -> str | None:
    return None if user.is_admin else user.user_id
