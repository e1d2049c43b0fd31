"""The checker that any suite may call after its tests: the books must add up, whatever happened."""

from gp4u_server.billing.invariants import INVARIANTS as BILLING
from gp4u_server.bookings.invariants import INVARIANTS as BOOKINGS
from gp4u_server.catalyst.standby.invariants import INVARIANTS as STANDBY
from gp4u_server.kit.db import Database
from gp4u_server.ledger.verify import verify
from sqlalchemy import text


async def assert_ledger_balances(database: Database) -> None:
    """Fail with every row that does not add up: ledger, meters, bookings, standbys."""
    async with database.transaction() as session:
        problems = [f"{p.row}: {p.detail} ({p.check})" for p in await verify(session)]
        for check, sql in {**BILLING, **BOOKINGS, **STANDBY}.items():
            problems += [f"{row.row}: {row.detail} ({check})" for row in await session.execute(text(sql))]
    assert problems == []
