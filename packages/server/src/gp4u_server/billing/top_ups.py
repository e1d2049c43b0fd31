"""Money in: the intent is a row before the provider is asked, and is applied once after it has answered."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.billing.errors import KeyReused, PaymentDeclined, PaymentUnavailable
from gp4u_server.billing.models import TopUpRow
from gp4u_server.billing.ports import PaymentProvider
from gp4u_server.billing.statements import Statements
from gp4u_server.billing.types import PaymentIntent, PaymentOutcome, WalletView
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id
from gp4u_server.ledger.service import LedgerService
from gp4u_server.ledger.types import Leg, wallet_of, world

log = logging.getLogger(__name__)

RETRY_AFTER_S = 30
RETRY_AFTER_S_MAX = 3600


@dataclass(frozen=True)
class TopUpService:
    """Fills wallets. Opens its own transactions: none is open while the provider is called."""

    database: Database
    ledger: LedgerService
    statements: Statements
    provider: PaymentProvider
    clock: Clock
    currency: str = "USD"

    async def top_up(
        self, user_id: str, amount_micros: int, idempotency_key: str | None
    ) -> tuple[WalletView, bool]:
        """Bring money in; answers the wallet as it was then, and whether the payment had been made before.

        The same key and amount: the same answer, and no second payment. Without a key every call is a payment.
        Raises PaymentDeclined, PaymentUnavailable (finished later by the sweep), KeyReused.
        """
        inputs_hash = hashlib.sha256(f"{amount_micros} {self.currency}".encode()).digest()
        async with self.database.transaction() as session:
            intent_id, settled = await self._intent(
                session, user_id, amount_micros, idempotency_key, inputs_hash
            )
        return await self._finish(intent_id), settled

    async def _intent(
        self, session: AsyncSession, user_id: str, amount_micros: int, key: str | None, inputs_hash: bytes
    ) -> tuple[str, bool]:
        """The attempt of this key, made when there is none, and whether its outcome is known."""
        inserted = await session.execute(
            upsert(TopUpRow)
            .values(
                id=new_id("top"),
                user_id=user_id,
                idempotency_key=key,
                inputs_hash=inputs_hash,
                provider=self.provider.name,
                amount_micros=amount_micros,
                currency=self.currency,
                state="created",
                retry_at=self.clock.now() + timedelta(seconds=RETRY_AFTER_S),
            )
            .on_conflict_do_nothing(index_elements=["user_id", "idempotency_key"])
            .returning(TopUpRow.id)
        )
        intent_id = inserted.scalar_one_or_none()
        if intent_id is not None:
            return intent_id, False
        row = (
            await session.execute(
                select(TopUpRow.id, TopUpRow.inputs_hash, TopUpRow.settled_at).where(
                    TopUpRow.user_id == user_id, TopUpRow.idempotency_key == key
                )
            )
        ).one()
        if row.inputs_hash != inputs_hash:
            raise KeyReused("This Idempotency-Key came with another amount before; use a new key.")
        return str(row.id), row.settled_at is not None

    async def _finish(self, intent_id: str) -> WalletView:
        async with self.database.transaction() as session:
            row = (await session.execute(select(TopUpRow).where(TopUpRow.id == intent_id))).scalar_one()
        if row.settled_at is None:
            outcome = await self.provider.charge(
                PaymentIntent(row.id, row.user_id, row.amount_micros, row.currency)
            )
            async with self.database.transaction() as session:
                row = await self._apply(session, intent_id, outcome)
        if row.state == "declined":
            raise PaymentDeclined(f"The payment was declined: {row.decline_reason}. No money moved.")
        return _wallet(row.answer or {})

    async def _apply(self, session: AsyncSession, intent_id: str, outcome: PaymentOutcome) -> TopUpRow:
        row = (
            await session.execute(
                select(TopUpRow).where(TopUpRow.id == intent_id).with_for_update(key_share=True)
            )
        ).scalar_one()
        if row.settled_at is not None:
            return row
        row.reference = outcome.reference
        row.decline_reason = outcome.decline_reason
        row.state = "succeeded" if outcome.succeeded else "declined"
        row.settled_at = self.clock.now()
        row.retry_at = None
        if outcome.succeeded:
            await self.ledger.transfer(
                session,
                key=f"top_up:{row.id}",
                kind="top_up",
                legs=[
                    Leg(world(row.provider), -row.amount_micros, row.currency),
                    Leg(wallet_of(row.user_id), row.amount_micros, row.currency),
                ],
                description="Paid in (sandbox, no real money)" if row.provider == "sandbox" else "Paid in",
                refs={"top_up_id": row.id, "reference": outcome.reference},
            )
            wallet = await self.statements.wallet(session, row.user_id)
            row.answer = {
                "currency": wallet.currency,
                "available_micros": wallet.available_micros,
                "held_micros": wallet.held_micros,
                "spent_30d_micros": wallet.spent_30d_micros,
            }
        await session.flush()
        return row

    async def finish_open(self, limit: int = 20) -> int:
        """Ask again, with the same keys, for attempts whose outcome is unknown. Answers how many were looked at."""
        now = self.clock.now()
        async with self.database.transaction() as session:
            rows = (
                await session.execute(
                    select(TopUpRow.id, TopUpRow.attempts)
                    .where(TopUpRow.retry_at <= now)
                    .order_by(TopUpRow.retry_at)
                    .limit(limit)
                    .with_for_update(key_share=True, skip_locked=True)
                )
            ).all()
            for row in rows:
                pause = min(RETRY_AFTER_S * 2 ** min(row.attempts + 1, 10), RETRY_AFTER_S_MAX)
                await session.execute(
                    update(TopUpRow)
                    .where(TopUpRow.id == row.id)
                    .values(attempts=row.attempts + 1, retry_at=now + timedelta(seconds=pause))
                )
        for row in rows:
            try:
                await self._finish(row.id)
            except (PaymentDeclined, PaymentUnavailable):
                continue
            except Exception:  # one attempt that nobody can finish keeps no other's money open
                log.exception("finishing of top-up %s failed", row.id)
        return len(rows)


def _wallet(answer: Mapping[str, Any]) -> WalletView:
    return WalletView(
        currency=str(answer["currency"]),
        available_micros=int(answer["available_micros"]),
        held_micros=int(answer["held_micros"]),
        spent_30d_micros=int(answer["spent_30d_micros"]),
    )
