"""Use cases of the ledger. `transfer` is the only writer of its tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.kit.ids import new_id
from gp4u_server.ledger import decisions, repository
from gp4u_server.ledger.errors import IdempotencyMismatch
from gp4u_server.ledger.types import EntryView, Leg, Problem, TransferResult
from gp4u_server.ledger.verify import verify


@dataclass(frozen=True)
class LedgerService:
    """Moves money and reads balances. Holds no state; every use case works in the caller's transaction."""

    async def lock(self, session: AsyncSession, accounts: Iterable[str], currency: str = "USD") -> None:
        """Lock accounts for several transfers to come, in the one order that everybody uses."""
        await repository.lock_accounts(session, [(name, currency) for name in accounts])

    async def transfer(
        self,
        session: AsyncSession,
        *,
        key: str,
        kind: str,
        legs: Sequence[Leg],
        description: str,
        refs: Mapping[str, str] | None = None,
    ) -> TransferResult:
        """Move money once for `key`, or answer the transfer that the same inputs made before.

        Raises InsufficientFunds (nothing is moved; roll back or go on, the transfer row is undone),
        IdempotencyMismatch when `key` moved something else, InvalidTransfer for legs that do not balance.
        """
        refs = refs or {}
        decisions.check_legs(legs)
        inputs_hash = decisions.hash_inputs(kind, legs, description, refs)
        async with session.begin_nested():
            transfer_id = new_id("trf")
            at = await repository.insert_transfer(
                session,
                transfer_id=transfer_id,
                key=key,
                kind=kind,
                description=description,
                refs=refs,
                inputs_hash=inputs_hash,
            )
            if at is None:
                return await self._repeated(session, key, inputs_hash)
            accounts = await repository.lock_accounts(session, [(leg.account, leg.currency) for leg in legs])
            entries, after = decisions.apply(
                accounts, legs, transfer_id=transfer_id, key=key, inputs_hash=inputs_hash, at=at
            )
            await repository.store(session, transfer_id, at, entries, after)
        return TransferResult(
            transfer_id, True, at, {entry.account: entry.balance_after_micros for entry in entries}
        )

    async def _repeated(self, session: AsyncSession, key: str, inputs_hash: bytes) -> TransferResult:
        transfer_id, stored_hash, at = await repository.transfer_by_key(session, key)
        if stored_hash != inputs_hash:
            raise IdempotencyMismatch(
                f"The transfer key {key!r} has moved something else before.", transfer_id=transfer_id
            )
        return TransferResult(transfer_id, False, at, await repository.balances_after(session, transfer_id))

    async def balances(
        self, session: AsyncSession, names: Sequence[str], currency: str = "USD"
    ) -> dict[str, int]:
        """Balance of each named account; 0 for one that never had an entry."""
        stored = await repository.balances(session, names, currency)
        return {name: stored.get(name, 0) for name in names}

    async def entries(
        self,
        session: AsyncSession,
        account: str,
        currency: str = "USD",
        *,
        before_version: int | None = None,
        limit: int = 50,
    ) -> list[EntryView]:
        """One account's entries, newest first, before entry number `before_version`."""
        return await repository.entries_of(
            session, account, currency, before_version=before_version, limit=limit
        )

    async def verify(self, session: AsyncSession) -> list[Problem]:
        """Recompute everything that is stored; an empty list means that it adds up."""
        return await verify(session)
