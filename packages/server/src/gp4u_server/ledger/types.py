"""Accounts, legs and results of the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

PLATFORM_FEES = "platform:fees"

ACCOUNT_MINIMUMS: Mapping[str, int | None] = {
    "wallet": 0,
    "hold": 0,
    "earnings": 0,
    "platform": 0,
    "world": None,  # the outside owes us as much as it paid in
}


def wallet_of(user_id: str) -> str:
    """The account of a renter's free money."""
    return f"wallet:{user_id}"


def hold_of(booking_id: str) -> str:
    """The account of the money set aside for a booking."""
    return f"hold:{booking_id}"


def earnings_of(user_id: str) -> str:
    """The account of what an owner has earned."""
    return f"earnings:{user_id}"


def world(provider: str) -> str:
    """The account that stands for the outside behind a payment provider."""
    return f"world:{provider}"


@dataclass(frozen=True)
class Leg:
    """One movement: `amount_micros` into `account` (negative: out of it). Never zero."""

    account: str
    amount_micros: int
    currency: str = "USD"


@dataclass(frozen=True)
class TransferResult:
    """A transfer that is in the ledger. `created` is False when the same key had made it before."""

    transfer_id: str
    created: bool
    at: datetime
    balances_micros: Mapping[str, int]  # account → balance after this transfer


@dataclass(frozen=True)
class EntryView:
    """One entry of one account, as listings show it."""

    account: str
    currency: str
    version: int
    amount_micros: int
    balance_after_micros: int
    at: datetime
    transfer_id: str
    kind: str
    description: str
    refs: Mapping[str, str]


@dataclass(frozen=True)
class Problem:
    """Something in the stored ledger that cannot be. `row` names it: table and key."""

    check: str
    row: str
    detail: str
