"""A billing service on a real database for suites that have no whole platform: only people and time are stand-ins."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from gp4u_server.accounts.types import Role, User
from gp4u_server.billing.service import BillingService
from gp4u_server.billing.shares import OwnerShares
from gp4u_server.billing.statements import Statements
from gp4u_server.billing.types import BillingTerms, NewMeter
from gp4u_server.foundation.events import Event, EventBus
from gp4u_server.foundation.outbox import PostgresOutbox
from gp4u_server.kit.clock import ManualClock
from gp4u_server.kit.db import Database
from gp4u_server.ledger.service import LedgerService
from gp4u_server.ledger.types import Leg, wallet_of, world
from sqlalchemy.ext.asyncio import AsyncSession

RENTER, OWNER, OPERATOR = "usr_renter", "usr_owner", "usr_operator"


@dataclass(frozen=True)
class People:
    """The port `billing.ports.People`: everybody is an owner, one is an operator too."""

    clock: ManualClock

    async def users_by_id(self, session: AsyncSession, user_ids: Collection[str]) -> Mapping[str, User]:
        roles = {OPERATOR: frozenset({Role.OWNER, Role.OPERATOR})}
        return {
            user_id: User(
                user_id, f"{user_id}@example.com", user_id, roles.get(user_id, frozenset()), self.clock.now()
            )
            for user_id in user_ids
        }


@dataclass
class Books:
    """Billing, its readers, and the events it published."""

    database: Database
    clock: ManualClock
    billing: BillingService
    statements: Statements
    heard: list[Event] = field(default_factory=list)

    async def fund(self, amount: int, user_id: str = RENTER) -> None:
        """Money from the outside, past the payment provider."""
        async with self.database.transaction() as session:
            await self.billing.ledger.transfer(
                session,
                key=f"fund:{user_id}:{amount}:{self.clock.now().isoformat()}",
                kind="top_up",
                legs=[Leg(world("test"), -amount), Leg(wallet_of(user_id), amount)],
                description="test money",
            )

    async def balance(self, account: str) -> int:
        async with self.database.transaction() as session:
            return (await self.billing.ledger.balances(session, [account]))[account]


def books_on(database: Database, *event_types: type[Event], terms: BillingTerms | None = None) -> Books:
    """Wire billing on a database, with a clock that the test turns."""
    clock = ManualClock()
    ledger, bus = LedgerService(), EventBus(PostgresOutbox())
    shares = OwnerShares(People(clock))
    books = Books(
        database,
        clock,
        BillingService(ledger, bus, clock, shares, terms or BillingTerms()),
        Statements(ledger, shares, clock),
    )

    async def hear(session: AsyncSession, event: Event) -> None:
        books.heard.append(event)

    for event_type in event_types:
        bus.subscribe(event_type, hear)
    return books


def new_meter(number: int = 1, **changes: object) -> NewMeter:
    """A booking's terms."""
    values: dict[str, object] = {
        "booking_id": f"bkg_{number}",
        "job_id": "job_1",
        "job_name": "digits",
        "renter_id": RENTER,
        "owner_id": OWNER,
        "node_id": "node_1",
        "node_name": "atlas",
        "epoch": number,
        "rate_per_hour_micros": 440_000,
        "budget_total_micros": None,
    }
    return NewMeter(**{**values, **changes})  # type: ignore[arg-type]
