"""The admins' rooms over HTTP. Everything here needs the role admin (an API key: the scope admin as well)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from gp4u_server.accounts.types import Principal, Role
from gp4u_server.accounts.web import require
from gp4u_server.admin import repository
from gp4u_server.admin.schemas import (
    AdminNodeOut,
    AdminOverviewOut,
    AdminUserOut,
    BooksVerificationOut,
    FailoversOut,
    LastVerificationOut,
)
from gp4u_server.admin.service import AdminDesk
from gp4u_server.admin.types import ListedNode, PersonView
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Page, decode_cursor, encode_cursor
from gp4u_server.nodes.reliability import Record
from gp4u_server.nodes.service import NodeService

router = APIRouter(prefix="/admin", tags=["admin"])
Admin = Annotated[Principal, Depends(require(Role.ADMIN))]
Nodes = Annotated[NodeService, Depends(provided(NodeService))]
Desk = Annotated[AdminDesk, Depends(provided(AdminDesk))]
Limit = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)]


@router.get("/overview")
async def read_overview(_: Admin, session: Session, desk: Desk) -> AdminOverviewOut:
    """Nodes and jobs by state, the platform's processes, and what waits."""
    return await desk.overview(session)


@router.get("/failovers")
async def read_failovers(
    _: Admin, session: Session, desk: Desk, newest: Annotated[int, Query(ge=0, le=50)] = 10
) -> FailoversOut:
    """The last week's failovers: measured phases with p50 and p99, and the newest ones."""
    return await desk.failovers(session, newest)


@router.get("/ledger/verification")
async def read_books_verification(_: Admin, desk: Desk) -> LastVerificationOut:
    """The outcome of the last verification of the ledger."""
    return LastVerificationOut(last=await desk.last_verification())


@router.post("/ledger/verification")
async def verify_books(_: Admin, desk: Desk) -> BooksVerificationOut:
    """Read the whole ledger again: every balance, hash chain and invariant. 409 while another one runs."""
    return await desk.verify_books()


@router.get("/users")
async def list_users(
    _: Admin,
    session: Session,
    email: Annotated[str | None, Query(max_length=320, description="exactly this address")] = None,
    cursor: str | None = None,
    limit: Limit = PAGE_SIZE_DEFAULT,
) -> Page[AdminUserOut]:
    """Accounts, newest first."""
    views = await repository.people(session, email=email, before_id=_before(cursor), limit=limit + 1)
    page = views[:limit]
    return Page(
        items=[_user_out(view) for view in page],
        next_cursor=encode_cursor(page[-1].id) if len(views) > limit else None,
    )


@router.get("/nodes")
async def list_all_nodes(
    _: Admin, session: Session, nodes: Nodes, cursor: str | None = None, limit: Limit = PAGE_SIZE_DEFAULT
) -> Page[AdminNodeOut]:
    """Nodes of all owners, newest first."""
    views = await repository.nodes(session, before_id=_before(cursor), limit=limit + 1)
    page = views[:limit]
    records = await nodes.records(session, [view.id for view in page])
    return Page(
        items=[_node_out(view, records[view.id]) for view in page],
        next_cursor=encode_cursor(page[-1].id) if len(views) > limit else None,
    )


def _before(cursor: str | None) -> str | None:
    return str(decode_cursor(cursor, str)[0]) if cursor else None


def _user_out(view: PersonView) -> AdminUserOut:
    return AdminUserOut(
        id=view.id, email=view.email, name=view.name, roles=list(view.roles), created_at=view.created_at
    )


def _node_out(view: ListedNode, record: Record) -> AdminNodeOut:
    return AdminNodeOut(
        id=view.id,
        name=view.name,
        owner_id=view.owner_id,
        owner_email=view.owner_email,
        region=view.region,
        status=view.status,
        findings=list(view.findings),
        liveness=view.liveness,
        state=view.state,
        simulated=view.simulated,
        gpu_models=list(view.gpu_models),
        gpus=view.gpus,
        gpus_in_use=view.gpus_in_use,
        reliability=round(record.reliability, 6),
        reliability_low=round(record.reliability_low, 6),
        reliability_high=round(record.reliability_high, 6),
        record=record.sentence,
        losses=view.losses,
        online_s=round(view.online_s, 3),
        last_seen_at=view.last_seen_at,
        enrolled_at=view.enrolled_at,
    )
