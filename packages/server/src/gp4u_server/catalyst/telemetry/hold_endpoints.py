"""Held drains over HTTP, for admins."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from gp4u_server.accounts.types import Principal, Role
from gp4u_server.accounts.web import require
from gp4u_server.catalyst.telemetry.holds import DrainHolds
from gp4u_server.catalyst.telemetry.schemas import DrainHoldOut, HeldNodeOut, HoldDecisionIn
from gp4u_server.catalyst.telemetry.types import DrainHold, HoldState
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.paging import PAGE_SIZE_MAX, Page, decode_cursor, encode_cursor

router = APIRouter(prefix="/admin/drain-holds", tags=["admin"])

Admin = Annotated[Principal, Depends(require(Role.ADMIN))]
Holds = Annotated[DrainHolds, Depends(provided(DrainHolds))]


@router.get("")
async def list_drain_holds(
    _: Admin,
    session: Session,
    holds: Holds,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = 20,
) -> Page[DrainHoldOut]:
    """Signs of failing that too many nodes showed at once, newest first: their drains are held until an admin decides."""
    before = str(decode_cursor(cursor, str)[0]) if cursor else None
    found = await holds.page(session, before_id=before, limit=limit + 1)
    page = found[:limit]
    return Page(
        items=[_out(hold) for hold in page],
        next_cursor=encode_cursor(page[-1].id) if len(found) > limit else None,
    )


@router.put("/{hold_id}/decision")
async def decide_drain_hold(
    hold_id: str, body: HoldDecisionIn, user: Admin, session: Session, holds: Holds
) -> DrainHoldOut:
    """`confirmed`: the GPUs do fail, and the held nodes are drained, one after the other. `dismissed`: they stay in service.
    Either goes for a day for whatever else shows the sign. 409 `hold_decided` when it was decided before."""
    decided = await holds.decide(
        session, hold_id, HoldState(body.decision), decided_by=user.user_id, reason=body.reason
    )
    return _out(decided)


def _out(hold: DrainHold) -> DrainHoldOut:
    return DrainHoldOut(
        id=hold.id,
        kind=hold.kind,
        code=hold.code,
        state=hold.state,
        reason=hold.reason,
        nodes_showing=hold.nodes_showing,
        nodes_serving=hold.nodes_serving,
        nodes_held=hold.nodes_held,
        began_at=hold.began_at,
        last_sign_at=hold.last_sign_at,
        decided_at=hold.decided_at,
        decided_reason=hold.decided_reason,
        nodes=[
            HeldNodeOut(
                node_id=node.node_id,
                node_name=node.node_name,
                device_uuid=node.device_uuid,
                held_at=node.held_at,
                settled_at=node.settled_at,
            )
            for node in hold.nodes
        ],
    )
