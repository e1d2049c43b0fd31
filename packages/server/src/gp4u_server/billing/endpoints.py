"""Wallet, receipts and earnings over HTTP."""

from fastapi import APIRouter

from gp4u_server.billing.schemas import EarningsOut, ReceiptOut, TopUpIn, WalletEntryOut, WalletOut
from gp4u_server.kit.paging import Page

router = APIRouter(tags=["billing"])


@router.get("/wallet")
async def read_wallet() -> WalletOut:
    """Balance and holds of the caller."""
    raise NotImplementedError


@router.post("/wallet/top-ups", status_code=201)
async def top_up(body: TopUpIn) -> WalletOut:
    """Pay money in through the configured provider (`sandbox` in the demo: no real money moves)."""
    raise NotImplementedError


@router.get("/wallet/entries")
async def list_wallet_entries(cursor: str | None = None, limit: int = 50) -> Page[WalletEntryOut]:
    """What moved the balance, newest first."""
    raise NotImplementedError


@router.get("/bookings/{booking_id}/receipt")
async def read_receipt(booking_id: str) -> ReceiptOut:
    """The bill of one booking, for its renter and for the node's owner."""
    raise NotImplementedError


@router.get("/earnings")
async def read_earnings() -> EarningsOut:
    """What the caller earned as an owner, with the split visible."""
    raise NotImplementedError
