"""Reading money: wallets, receipts, earnings, totals of bookings. Every query follows an index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Date, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.billing import metering, repository
from gp4u_server.billing.errors import BookingNotFound
from gp4u_server.billing.models import MeterRow, PostingRow
from gp4u_server.billing.schemas import (
    DayEarningsOut,
    EarningsOut,
    NodeEarningsOut,
    ReceiptLineOut,
    ReceiptOut,
    StandbyReceiptOut,
)
from gp4u_server.billing.shares import OwnerShares
from gp4u_server.billing.types import MeterTotals, ReceiptLine, WalletView
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.money import charge_for
from gp4u_server.kit.paging import Page, decode_cursor, encode_cursor
from gp4u_server.ledger.service import LedgerService
from gp4u_server.ledger.types import EntryView, hold_of, wallet_of

EARNINGS_DAYS = 30
NODES_MAX = 500


@dataclass(frozen=True)
class Statements:
    """What people see of their money: that in the platform's currency. Other currencies are never added to it."""

    ledger: LedgerService
    shares: OwnerShares
    clock: Clock
    currency: str = "USD"

    async def wallet(self, session: AsyncSession, user_id: str) -> WalletView:
        """Free money, money set aside for bookings that are not settled, and what 30 days cost."""
        bookings = await session.execute(
            select(MeterRow.booking_id).where(MeterRow.renter_id == user_id, MeterRow.settled_at.is_(None))
        )
        wallet = wallet_of(user_id)
        holds = [hold_of(booking_id) for (booking_id,) in bookings]
        balances = await self.ledger.balances(session, [wallet, *holds], self.currency)
        spent = await session.execute(
            select(func.coalesce(func.sum(PostingRow.amount_micros), 0))
            .join(MeterRow, MeterRow.booking_id == PostingRow.booking_id)
            .where(
                PostingRow.renter_id == user_id,
                PostingRow.at > self.clock.now() - timedelta(days=30),
                MeterRow.renter_id == user_id,
                MeterRow.currency == self.currency,
            )
        )
        return WalletView(
            self.currency, balances[wallet], sum(balances[hold] for hold in holds), int(spent.scalar_one())
        )

    async def wallet_entries(
        self, session: AsyncSession, user_id: str, cursor: str | None, limit: int
    ) -> Page[EntryView]:
        """What moved the wallet, newest first."""
        before = None if cursor is None else int(decode_cursor(cursor, int)[0])
        entries = await self.ledger.entries(
            session, wallet_of(user_id), self.currency, before_version=before, limit=limit + 1
        )
        more = len(entries) > limit
        entries = entries[:limit]
        return Page[EntryView](
            items=entries, next_cursor=encode_cursor(entries[-1].version) if more else None
        )

    async def totals(self, session: AsyncSession, booking_ids: Sequence[str]) -> Mapping[str, MeterTotals]:
        """booking → what it has cost so far and what is set aside for it."""
        rows = (
            await session.execute(
                select(
                    MeterRow.booking_id,
                    MeterRow.charged_micros,
                    MeterRow.refunded_micros,
                    MeterRow.settled_at,
                ).where(MeterRow.booking_id.in_(booking_ids))
            )
        ).all()
        # One statement for a whole page, and none for bookings that hold nothing any more.
        open_holds = [hold_of(row.booking_id) for row in rows if row.settled_at is None]
        holds = await self.ledger.balances(session, open_holds, self.currency) if open_holds else {}
        return {
            row.booking_id: MeterTotals(
                booking_id=row.booking_id,
                held_micros=holds.get(hold_of(row.booking_id), 0),
                charged_micros=row.charged_micros,
                refunded_micros=row.refunded_micros,
                settled=row.settled_at is not None,
            )
            for row in rows
        }

    async def receipt(self, session: AsyncSession, booking_id: str, reader_id: str | None) -> ReceiptOut:
        """The bill of a booking, for its renter and its owner (`reader_id` None: for an admin).

        Raises BookingNotFound, to strangers too.
        """
        row = await repository.meter(session, booking_id)
        if row is None or (reader_id is not None and reader_id not in (row.renter_id, row.owner_id)):
            raise BookingNotFound("There is no such booking of yours.")
        meter = await repository.state_of(session, row)
        now = row.posted_through or self.clock.now()
        return ReceiptOut(
            booking_id=row.booking_id,
            job_id=row.job_id,
            currency=row.currency,
            rate_per_hour_micros=row.rate_per_hour_micros,
            owner_share_percent=row.owner_share_percent,
            lines=[_line(line, now) for line in metering.receipt_lines(meter)],
            billed_us=row.billed_us,
            charged_micros=row.charged_micros,
            refunded_micros=row.refunded_micros,
            unpaid_micros=max(
                charge_for(row.rate_per_hour_micros, row.billed_us)
                - row.charged_micros
                + row.refunded_micros,
                0,
            ),
            owner_micros=row.owner_micros,
            platform_micros=row.platform_micros,
            final=row.settled_at is not None,
            # Whom else the renter pays is no business of this booking's owner.
            standbys=[] if reader_id == row.owner_id != row.renter_id else await self._beside(session, row),
        )

    async def _beside(self, session: AsyncSession, row: MeterRow) -> list[StandbyReceiptOut]:
        return [
            StandbyReceiptOut(
                standby_id=standby.booking_id,
                node_name=standby.node_name,
                rate_per_hour_micros=standby.rate_per_hour_micros,
                owner_share_percent=standby.owner_share_percent,
                lines=[
                    _line(line, standby.posted_through or self.clock.now())
                    for line in metering.receipt_lines(await repository.state_of(session, standby))
                ],
                billed_us=standby.billed_us,
                charged_micros=standby.charged_micros,
                refunded_micros=standby.refunded_micros,
                final=standby.settled_at is not None,
            )
            for standby in await repository.beside(session, row.booking_id)
        ]

    async def earnings(self, session: AsyncSession, owner_id: str) -> EarningsOut:
        """What an owner earned, by node and by day of the last 30 (UTC)."""
        now = self.clock.now()
        by_node = (
            await session.execute(
                select(
                    MeterRow.node_id,
                    func.max(MeterRow.node_name).label("node_name"),
                    func.sum(MeterRow.charged_micros - MeterRow.refunded_micros).label("gross"),
                    func.sum(MeterRow.platform_micros).label("platform"),
                    func.sum(MeterRow.owner_micros).label("owner"),
                    func.sum(MeterRow.billed_us).label("billed_us"),
                )
                .where(MeterRow.owner_id == owner_id, MeterRow.currency == self.currency)
                .group_by(MeterRow.node_id)
                .order_by(func.sum(MeterRow.owner_micros).desc(), MeterRow.node_id)
                .limit(NODES_MAX)
            )
        ).all()
        total = await session.execute(
            select(func.coalesce(func.sum(MeterRow.owner_micros), 0)).where(
                MeterRow.owner_id == owner_id, MeterRow.currency == self.currency
            )
        )
        day = cast(func.timezone("UTC", PostingRow.at), Date)
        first_day = (now - timedelta(days=EARNINGS_DAYS - 1)).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        by_day = (
            await session.execute(
                select(day.label("day"), func.sum(PostingRow.owner_micros).label("owner"))
                .join(MeterRow, MeterRow.booking_id == PostingRow.booking_id)
                .where(
                    PostingRow.owner_id == owner_id,
                    PostingRow.at >= first_day,
                    MeterRow.owner_id == owner_id,
                    MeterRow.currency == self.currency,
                )
                .group_by(day)
                .order_by(day)
            )
        ).all()
        return EarningsOut(
            currency=self.currency,
            earned_total_micros=int(total.scalar_one()),
            earned_24h_micros=await self._earned_since(session, owner_id, now - timedelta(hours=24)),
            earned_30d_micros=await self._earned_since(session, owner_id, now - timedelta(days=30)),
            owner_share_percent=await self.shares.percent(session, owner_id),
            by_node=[
                NodeEarningsOut(
                    node_id=row.node_id,
                    node_name=row.node_name,
                    gross_micros=int(row.gross),
                    platform_fee_micros=int(row.platform),
                    earned_micros=int(row.owner),
                    billed_s=int(row.billed_us) / 1_000_000,
                )
                for row in by_node
            ],
            by_day=[DayEarningsOut(day=row.day.isoformat(), earned_micros=int(row.owner)) for row in by_day],
        )

    async def _earned_since(self, session: AsyncSession, owner_id: str, since: datetime) -> int:
        result = await session.execute(
            select(func.coalesce(func.sum(PostingRow.owner_micros), 0))
            .join(MeterRow, MeterRow.booking_id == PostingRow.booking_id)
            .where(
                PostingRow.owner_id == owner_id,
                PostingRow.at > since,
                MeterRow.owner_id == owner_id,
                MeterRow.currency == self.currency,
            )
        )
        return int(result.scalar_one())


def _line(line: ReceiptLine, now: datetime) -> ReceiptLineOut:
    end = line.ended_at or max(now, line.started_at)
    return ReceiptLineOut(
        started_at=line.started_at,
        ended_at=line.ended_at,
        seconds=(end - line.started_at).total_seconds(),
        billed=line.billed,
        why=line.why,
    )
