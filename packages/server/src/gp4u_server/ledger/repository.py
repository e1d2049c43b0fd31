"""Every query of the ledger's writer and readers."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import bindparam, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.ledger.decisions import GENESIS_HASH, AccountKey, AccountState, Entry, minimum_of
from gp4u_server.ledger.models import AccountRow, EntryRow, TransferRow
from gp4u_server.ledger.types import EntryView


async def insert_transfer(
    session: AsyncSession,
    *,
    transfer_id: str,
    key: str,
    kind: str,
    description: str,
    refs: Mapping[str, str],
    inputs_hash: bytes,
) -> datetime | None:
    """Insert, or None when the key is taken. Waits for a concurrent transaction that holds the same key."""
    statement = (
        upsert(TransferRow)
        .values(
            id=transfer_id,
            key=key,
            kind=kind,
            description=description,
            refs=dict(refs),
            inputs_hash=inputs_hash,
            created_at=text("clock_timestamp()"),
        )
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(TransferRow.created_at)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def transfer_by_key(session: AsyncSession, key: str) -> tuple[str, bytes, datetime]:
    """Id, inputs hash and instant of the transfer with this key."""
    row = (
        await session.execute(
            select(TransferRow.id, TransferRow.inputs_hash, TransferRow.created_at).where(
                TransferRow.key == key
            )
        )
    ).one()
    return row.id, row.inputs_hash, row.created_at


async def balances_after(session: AsyncSession, transfer_id: str) -> dict[str, int]:
    """account → balance after this transfer's last leg there."""
    rows = await session.execute(
        select(EntryRow.account, EntryRow.balance_after_micros)
        .where(EntryRow.transfer_id == transfer_id)
        .order_by(EntryRow.leg)
    )
    return {row.account: row.balance_after_micros for row in rows}


async def lock_accounts(session: AsyncSession, keys: Iterable[AccountKey]) -> dict[AccountKey, AccountState]:
    """Make what is missing, lock all in key order, and read them with the hash of their last entry."""
    ordered = sorted(set(keys))
    account = tuple_(AccountRow.name, AccountRow.currency)
    known = {
        (name, currency)
        for name, currency in await session.execute(
            select(AccountRow.name, AccountRow.currency).where(account.in_(ordered))
        )
    }
    if len(known) < len(ordered):
        # A row just inserted is held like a locked one, so making and locking go through the keys in one order:
        # all that are known first and the new ones after would let two writers wait for each other.
        for key in ordered:
            if key not in known:
                await session.execute(
                    upsert(AccountRow)
                    .values(name=key[0], currency=key[1], minimum_micros=minimum_of(key[0]))
                    .on_conflict_do_nothing()
                )
            await _locked(session, [key])
    return await _locked(session, ordered)


async def _locked(session: AsyncSession, keys: Sequence[AccountKey]) -> dict[AccountKey, AccountState]:
    rows = (
        await session.execute(
            select(
                AccountRow.name,
                AccountRow.currency,
                AccountRow.balance_micros,
                AccountRow.version,
                AccountRow.minimum_micros,
            )
            .where(tuple_(AccountRow.name, AccountRow.currency).in_(keys))
            .order_by(AccountRow.name, AccountRow.currency)
            .with_for_update(key_share=True)
        )
    ).all()
    # A second statement, so that it sees what was committed while the first one waited for its locks.
    heads = [(row.name, row.currency, row.version) for row in rows if row.version]
    hashes: dict[AccountKey, bytes] = {}
    if heads:
        entry = tuple_(EntryRow.account, EntryRow.currency, EntryRow.version)
        for name, currency, entry_hash in await session.execute(
            select(EntryRow.account, EntryRow.currency, EntryRow.entry_hash).where(entry.in_(heads))
        ):
            hashes[name, currency] = entry_hash
    return {
        (row.name, row.currency): AccountState(
            balance_micros=row.balance_micros,
            version=row.version,
            minimum_micros=row.minimum_micros,
            last_hash=hashes[row.name, row.currency] if row.version else GENESIS_HASH,
        )
        for row in rows
    }


async def store(
    session: AsyncSession,
    transfer_id: str,
    at: datetime,
    entries: Sequence[Entry],
    accounts: Mapping[AccountKey, AccountState],
) -> None:
    """Write the entries and move the accounts. The accounts are locked by `lock_accounts` before."""
    touched = sorted({(entry.account, entry.currency) for entry in entries})
    await session.execute(
        update(AccountRow.__table__)  # type: ignore[arg-type]
        .where(
            AccountRow.__table__.c.name == bindparam("b_name"),
            AccountRow.__table__.c.currency == bindparam("b_currency"),
        )
        .values(balance_micros=bindparam("b_balance"), version=bindparam("b_version")),
        [
            {
                "b_name": name,
                "b_currency": currency,
                "b_balance": accounts[name, currency].balance_micros,
                "b_version": accounts[name, currency].version,
            }
            for name, currency in touched
        ],
    )
    await session.execute(
        insert(EntryRow),
        [
            {
                "account": entry.account,
                "currency": entry.currency,
                "version": entry.version,
                "transfer_id": transfer_id,
                "leg": entry.leg,
                "amount_micros": entry.amount_micros,
                "balance_after_micros": entry.balance_after_micros,
                "previous_hash": entry.previous_hash,
                "entry_hash": entry.entry_hash,
                "created_at": at,
            }
            for entry in entries
        ],
    )


async def balances(session: AsyncSession, names: Sequence[str], currency: str) -> dict[str, int]:
    """Stored balances; accounts that do not exist yet are absent."""
    rows = await session.execute(
        select(AccountRow.name, AccountRow.balance_micros).where(
            AccountRow.name.in_(names), AccountRow.currency == currency
        )
    )
    return {row.name: row.balance_micros for row in rows}


async def entries_of(
    session: AsyncSession, account: str, currency: str, *, before_version: int | None, limit: int
) -> list[EntryView]:
    """Entries of one account, newest first, along its primary key."""
    statement = (
        select(EntryRow, TransferRow)
        .join(TransferRow, TransferRow.id == EntryRow.transfer_id)
        .where(EntryRow.account == account, EntryRow.currency == currency)
        .order_by(EntryRow.version.desc())
        .limit(limit)
    )
    if before_version is not None:
        statement = statement.where(EntryRow.version < before_version)
    return [
        EntryView(
            account=entry.account,
            currency=entry.currency,
            version=entry.version,
            amount_micros=entry.amount_micros,
            balance_after_micros=entry.balance_after_micros,
            at=entry.created_at,
            transfer_id=transfer.id,
            kind=transfer.kind,
            description=transfer.description,
            refs=transfer.refs,
        )
        for entry, transfer in (await session.execute(statement)).all()
    ]
