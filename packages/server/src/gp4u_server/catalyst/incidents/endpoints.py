"""Incidents and scores over HTTP. Everybody sees a node's score and what it rests on; its owner and admins see why."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.accounts.types import Principal, Role
from gp4u_server.accounts.web import require
from gp4u_server.catalyst.incidents.reading import IncidentReader
from gp4u_server.catalyst.incidents.schemas import (
    CaseOut,
    IncidentOut,
    RulingIn,
    SampleOut,
    ScoreChangeOut,
    ScoreOut,
)
from gp4u_server.catalyst.incidents.service import IncidentService
from gp4u_server.catalyst.incidents.types import CauseFilter, IncidentKind
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.paging import PAGE_SIZE_MAX, Page, decode_cursor, encode_cursor
from gp4u_server.nodes.reliability import INTERVAL, Tally, survival
from gp4u_server.nodes.service import NodeService

router = APIRouter(tags=["nodes"])

OwnerOrAdmin = Annotated[Principal, Depends(require(Role.OWNER, Role.OPERATOR, Role.ADMIN))]
Admin = Annotated[Principal, Depends(require(Role.ADMIN))]
Nodes = Annotated[NodeService, Depends(provided(NodeService))]
Incidents = Annotated[IncidentService, Depends(provided(IncidentService))]
Limit = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)]


@router.get("/nodes/{node_id}/score")
async def read_score(node_id: str, session: Session, nodes: Nodes) -> ScoreOut:
    """A node's reliability and uptime, with interval, sample size and what was expected before it was seen."""
    node = await nodes.view(session, node_id)
    record = node.record
    return ScoreOut(
        node_id=node.id,
        reliability=round(record.reliability, 6),
        reliability_low=round(record.reliability_low, 6),
        reliability_high=round(record.reliability_high, 6),
        interval=INTERVAL,
        uptime=None if record.uptime is None else round(record.uptime, 6),
        seen_s=round(record.seen_s, 3),
        record=record.sentence,
        host_losses=node.host_losses,
        network_losses=node.network_losses,
        losses=node.losses,
        hazard_per_hour=node.hazard_per_hour,
        expected=round(survival(0, 0.0, prior=node.prior), 6),
        fleet=_sample(node.prior.fleet),
        owner=_sample(node.prior.owner),
    )


@router.get("/nodes/{node_id}/score/changes")
async def list_score_changes(
    node_id: str,
    user: OwnerOrAdmin,
    session: Session,
    nodes: Nodes,
    cursor: str | None = None,
    limit: Limit = 50,
) -> Page[ScoreChangeOut]:
    """Every change of a node's score, newest first, each with the incident that caused it."""
    await _may_see(session, nodes, user, node_id)
    found = await nodes.score_changes(session, node_id, before_id=_before(cursor), limit=limit + 1)
    page = found[:limit]
    items = [
        ScoreChangeOut(
            id=change.id,
            at=change.at,
            before=round(change.before, 6),
            after=round(change.after, 6),
            drift=None if older is None else round(change.before - older.after, 6),
            host_losses=change.host_losses,
            network_losses=change.network_losses,
            away_s=change.away_s,
            incident_id=change.incident_id,
            reason=change.reason,
        )
        for change, older in zip(page, [*found[1:], None], strict=False)
    ]
    return Page(items=items, next_cursor=encode_cursor(page[-1].id) if len(found) > limit else None)


@router.get("/nodes/{node_id}/incidents")
async def list_incidents(
    node_id: str,
    user: OwnerOrAdmin,
    session: Session,
    nodes: Nodes,
    cursor: str | None = None,
    limit: Limit = 50,
) -> Page[IncidentOut]:
    """Every loss of a node and every failure of a run on it, newest first: what it is attributed to, and on what evidence."""
    await _may_see(session, nodes, user, node_id)
    shown = await IncidentReader().page(session, node_id, before_id=_before(cursor), limit=limit + 1)
    page = shown[:limit]
    return Page(items=page, next_cursor=encode_cursor(page[-1].id) if len(shown) > limit else None)


@router.get("/admin/incidents", tags=["admin"])
async def list_all_incidents(
    _: Admin,
    session: Session,
    cause: Annotated[CauseFilter | None, Query(description="`open`: not settled yet")] = None,
    kind: IncidentKind | None = None,
    ruled: Annotated[bool | None, Query(description="whether an admin's ruling stands")] = None,
    node_id: Annotated[str | None, Query(max_length=64)] = None,
    cursor: str | None = None,
    limit: Limit = 50,
) -> Page[CaseOut]:
    """Incidents of all nodes, newest first, with whose node it was and which jobs were hit."""
    shown = await IncidentReader().cases(
        session,
        cause=cause,
        kind=kind,
        ruled=ruled,
        node_id=node_id,
        before_id=_before(cursor),
        limit=limit + 1,
    )
    page = shown[:limit]
    return Page(items=page, next_cursor=encode_cursor(page[-1].id) if len(shown) > limit else None)


@router.get("/admin/incidents/{incident_id}", tags=["admin"])
async def read_case(incident_id: str, _: Admin, session: Session) -> CaseOut:
    """One incident with all that was weighed, ruled and changed."""
    return await IncidentReader().case(session, incident_id)


@router.put("/incidents/{incident_id}/ruling")
async def rule_on_incident(
    incident_id: str, body: RulingIn, admin: Admin, session: Session, incidents: Incidents
) -> IncidentOut:
    """Say what it was, whatever the evidence says. The score follows, the ruling is kept, and it can be taken back."""
    await incidents.rule(session, incident_id, by=admin.user_id, cause=body.cause, reason=body.reason)
    return await IncidentReader().one(session, incident_id)


@router.delete("/incidents/{incident_id}/ruling")
async def undo_ruling(incident_id: str, admin: Admin, session: Session, incidents: Incidents) -> IncidentOut:
    """Take the standing ruling back: what the evidence says holds again. 409 when there is none."""
    await incidents.undo_ruling(session, incident_id, by=admin.user_id)
    return await IncidentReader().one(session, incident_id)


async def _may_see(session: AsyncSession, nodes: NodeService, user: Principal, node_id: str) -> None:
    """Raises NodeNotFound, also for another owner's."""
    if user.is_admin:
        await nodes.view(session, node_id)
    else:
        await nodes.read_owned(session, user.user_id, node_id)


def _before(cursor: str | None) -> str | None:
    return str(decode_cursor(cursor, str)[0]) if cursor else None


def _sample(tally: Tally) -> SampleOut:
    return SampleOut(losses=tally.losses, online_h=round(tally.online_h, 2))
