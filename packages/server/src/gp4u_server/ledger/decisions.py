"""The ledger's rules, without a database: what makes a valid transfer, its hash, and what it does to balances."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gp4u_server.ledger.errors import InsufficientFunds, InvalidTransfer
from gp4u_server.ledger.types import ACCOUNT_MINIMUMS, Leg

LEGS_MAX = 64
MICROS_MAX = 2**62  # half of what a bigint holds, so that one addition can never overflow
GENESIS_HASH = bytes(32)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

AccountKey = tuple[str, str]  # name, currency


@dataclass(frozen=True)
class AccountState:
    """What the writer must know of an account before it adds an entry."""

    balance_micros: int
    version: int
    minimum_micros: int | None
    last_hash: bytes


@dataclass(frozen=True)
class Entry:
    """An entry ready to be stored."""

    account: str
    currency: str
    version: int
    leg: int
    amount_micros: int
    balance_after_micros: int
    previous_hash: bytes
    entry_hash: bytes


def minimum_of(account: str) -> int | None:
    """The lowest balance `account` may have, None for no limit. Raises InvalidTransfer for an unknown kind."""
    kind, _, name = account.partition(":")
    if kind not in ACCOUNT_MINIMUMS or not name:
        raise InvalidTransfer(f"{account!r} is not an account of this ledger.")
    return ACCOUNT_MINIMUMS[kind]


def check_legs(legs: Sequence[Leg]) -> None:
    """Raise InvalidTransfer unless the legs sum to 0 per currency and each moves something."""
    if not 2 <= len(legs) <= LEGS_MAX:
        raise InvalidTransfer(f"A transfer has 2 to {LEGS_MAX} legs, not {len(legs)}.")
    sums: dict[str, int] = defaultdict(int)
    for leg in legs:
        minimum_of(leg.account)
        if (
            type(leg.amount_micros) is not int
            or leg.amount_micros == 0
            or abs(leg.amount_micros) > MICROS_MAX
        ):
            raise InvalidTransfer(f"{leg.amount_micros!r} is not an amount that can be moved.")
        sums[leg.currency] += leg.amount_micros
    for currency, total in sums.items():
        if total:
            raise InvalidTransfer(f"The legs in {currency} sum to {total}, not to 0.")


def hash_inputs(kind: str, legs: Sequence[Leg], description: str, refs: Mapping[str, str]) -> bytes:
    """The hash that tells a repeated transfer from another one under the same key."""
    return _hash(
        {
            "kind": kind,
            "description": description,
            "refs": dict(refs),
            "legs": [[leg.account, leg.currency, leg.amount_micros] for leg in legs],
        }
    )


def apply(
    accounts: Mapping[AccountKey, AccountState],
    legs: Sequence[Leg],
    *,
    transfer_id: str,
    key: str,
    inputs_hash: bytes,
    at: datetime,
) -> tuple[list[Entry], dict[AccountKey, AccountState]]:
    """The entries of a transfer and the accounts after it.

    Only the balance after the whole transfer is held against the minimum; legs of one account add up.
    Raises InsufficientFunds with `account`, `balance_micros` and `missing_micros`.
    """
    after = dict(accounts)
    entries = []
    for number, leg in enumerate(legs):
        before = after[leg.account, leg.currency]
        balance = before.balance_micros + leg.amount_micros
        version = before.version + 1
        entry_hash = _hash(
            [
                leg.account,
                leg.currency,
                version,
                transfer_id,
                key,
                inputs_hash.hex(),
                number,
                leg.amount_micros,
                balance,
                (at - _EPOCH) // timedelta(microseconds=1),
                before.last_hash.hex(),
            ]
        )
        entries.append(
            Entry(
                leg.account,
                leg.currency,
                version,
                number,
                leg.amount_micros,
                balance,
                before.last_hash,
                entry_hash,
            )
        )
        after[leg.account, leg.currency] = AccountState(balance, version, before.minimum_micros, entry_hash)
    for (name, currency), account in after.items():
        if account.minimum_micros is not None and account.balance_micros < account.minimum_micros:
            raise InsufficientFunds(
                f"{name} holds {accounts[name, currency].balance_micros} {currency} micro-units, "
                f"{account.minimum_micros - account.balance_micros} too few for this.",
                account=name,
                balance_micros=accounts[name, currency].balance_micros,
                missing_micros=account.minimum_micros - account.balance_micros,
            )
        if abs(account.balance_micros) > MICROS_MAX:
            raise InvalidTransfer(f"{name} would hold more than the ledger can count.")
    return entries, after


def _hash(value: object) -> bytes:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).digest()
