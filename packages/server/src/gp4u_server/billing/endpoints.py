"""Wallet, receipts and earnings over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from gp4u_server.accounts.web import CurrentUser
from gp4u_server.billing.schemas import EarningsOut, ReceiptOut, TopUpIn, WalletEntryOut, WalletOut
from gp4u_server.billing.statements import Statements
from gp4u_server.billing.top_ups import TopUpService
from gp4u_server.billing.types import WalletView
from gp4u_server.foundation.idempotency import REPLAYED_HEADER, IdempotencyKey
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Page
from gp4u_server.ledger.types import EntryView

router = APIRouter(tags=["billing"])
StatementsDep = Annotated[Statements, Depends(provided(Statements))]
TopUpsDep = Annotated[TopUpService, Depends(provided(TopUpService))]
Limit = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)]


@router.get("/wallet")
async def read_wallet(user: CurrentUser, session: Session, statements: StatementsDep) -> WalletOut:
    """Balance and holds of the caller."""
    return _wallet_out(await statements.wallet(session, user.user_id))


@router.post("/wallet/top-ups", status_code=201)
async def top_up(
    body: TopUpIn,
    response: Response,
    user: CurrentUser,
    top_ups: TopUpsDep,
    idempotency_key: IdempotencyKey = None,
) -> WalletOut:
    """Pay money in through the configured provider (`sandbox` in the demo: no real money moves).

    Without a key each request is a payment of its own. 402 `payment_declined`, for the same key again too; 503 `payment_unavailable`: the attempt is kept and finished once, later.
    """
    wallet, repeated = await top_ups.top_up(user.user_id, body.amount_micros, idempotency_key)
    if repeated:
        response.headers[REPLAYED_HEADER] = "true"
    return _wallet_out(wallet)


@router.get("/wallet/entries")
async def list_wallet_entries(
    user: CurrentUser,
    session: Session,
    statements: StatementsDep,
    cursor: str | None = None,
    limit: Limit = PAGE_SIZE_DEFAULT,
) -> Page[WalletEntryOut]:
    """What moved the balance, newest first."""
    page = await statements.wallet_entries(session, user.user_id, cursor, limit)
    return Page[WalletEntryOut](
        items=[_entry_out(entry) for entry in page.items], next_cursor=page.next_cursor
    )


@router.get("/bookings/{booking_id}/receipt")
async def read_receipt(
    booking_id: str, user: CurrentUser, session: Session, statements: StatementsDep
) -> ReceiptOut:
    """The bill of one booking, for its renter and for the node's owner."""
    return await statements.receipt(session, booking_id, None if user.is_admin else user.user_id)


@router.get("/earnings")
async def read_earnings(user: CurrentUser, session: Session, statements: StatementsDep) -> EarningsOut:
    """What the caller earned as an owner, with the split visible."""
    return await statements.earnings(session, user.user_id)


def _wallet_out(wallet: WalletView) -> WalletOut:
    return WalletOut(
        currency=wallet.currency,
        available_micros=wallet.available_micros,
        held_micros=wallet.held_micros,
        spent_30d_micros=wallet.spent_30d_micros,
    )


def _entry_out(entry: EntryView) -> WalletEntryOut:
    return WalletEntryOut(
        id=f"{entry.transfer_id}.{entry.version}",
        at=entry.at,
        kind=entry.kind,
        amount_micros=entry.amount_micros,
        balance_after_micros=entry.balance_after_micros,
        booking_id=entry.refs.get("booking_id"),
        job_id=entry.refs.get("job_id"),
        description=entry.description,
    )
