"""A market with jobs, router, bookings and billing on it, all real."""

import tempfile
from datetime import datetime
from pathlib import Path

from gp4u_protocol.job_spec import JobSpec
from gp4u_protocol.messages import ActualState, Report
from gp4u_server.accounts.types import Role, User
from gp4u_server.adapters.objectstore import FolderObjectStore
from gp4u_server.billing.control import MeteringLoop
from gp4u_server.billing.schemas import ReceiptOut
from gp4u_server.billing.service import BillingService
from gp4u_server.billing.shares import OwnerShares
from gp4u_server.billing.statements import Statements
from gp4u_server.billing.types import BillingTerms
from gp4u_server.bookings.capacity import BookingCapacity
from gp4u_server.bookings.control import BookingSweepLoop
from gp4u_server.bookings.handlers import BookingHandlers
from gp4u_server.bookings.service import BookingService
from gp4u_server.catalyst.checkpoints.choosing import CheckpointChoices
from gp4u_server.catalyst.checkpoints.service import CheckpointService
from gp4u_server.catalyst.failover.control import AskedStopsLoop, PlacingLoop
from gp4u_server.catalyst.jobs.data_keys import DataKeys
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.views import JobView, PlacementView
from gp4u_server.catalyst.routing.service import Router
from gp4u_server.kit.clock import SystemClock
from gp4u_server.kit.db import Database
from gp4u_server.ledger.service import LedgerService
from gp4u_server.ledger.types import Leg, wallet_of, world
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.integration.market_world import World


class NoOperators:
    """The port `billing.ports.People`: nobody is an operator."""

    async def users_by_id(self, session: AsyncSession, user_ids: object) -> dict[str, User]:
        assert Role.OPERATOR
        return {}


class BookingWorld(World):
    """Everything from a submitted job to its settled bill."""

    def __init__(self, database: Database, terms: BillingTerms | None = None) -> None:
        super().__init__(database)
        clock = SystemClock()
        self.ledger = LedgerService()
        shares = OwnerShares(NoOperators())
        self.billing = BillingService(self.ledger, self.bus, clock, shares, terms or BillingTerms())
        self.statements = Statements(self.ledger, shares, clock)
        self.jobs = JobService(self.bus, DataKeys(b"k" * 32), self.nodes)
        self.router = Router(self.market, self.jobs, BookingCapacity(self.market, self.billing), clock)
        self.handlers = BookingHandlers(self.market, self.billing, self.jobs)
        self.handlers.subscribe(self.bus)
        self._store_folder = tempfile.TemporaryDirectory(prefix="gp4u-bookings-store-")
        store = FolderObjectStore.open(Path(self._store_folder.name), b"k" * 32)
        self.bookings = BookingService(
            self.jobs,
            self.router,
            self.market,
            self.billing,
            self.statements,
            CheckpointService(self.jobs, store),
            CheckpointChoices(self.jobs),
        )
        self.metering = MeteringLoop(database, self.billing, self.jobs)
        self.stops = AskedStopsLoop(database, self.jobs)
        self.placing = PlacingLoop(database, self.jobs, self.router)
        self.sweep = BookingSweepLoop(database, self.jobs, self.handlers)
        self.reports = 0

    async def renter(self, micros: int = 100_000_000) -> str:
        """A person with money."""
        user_id = await self.person("Rhea")
        if micros:
            async with self.database.transaction() as session:
                await self.ledger.transfer(
                    session,
                    key=f"fund:{user_id}",
                    kind="top_up",
                    legs=[Leg(world("test"), -micros), Leg(wallet_of(user_id), micros)],
                    description="test money",
                )
        return user_id

    async def submit(self, renter_id: str, offer_id: str | None = None, **spec: object) -> JobView:
        async with self.database.transaction() as session:
            return await self.bookings.submit_job(session, renter_id, job_spec(**spec), offer_id)

    async def placement(self, job_id: str) -> PlacementView:
        async with self.database.transaction() as session:
            found = await self.jobs.newest_placement(session, job_id)
        assert found is not None
        return found

    async def claim(self, placement: PlacementView) -> None:
        async with self.database.transaction() as session:
            await self.jobs.record_claim(session, placement.node_id, placement.id, placement.epoch)

    async def report(self, placement: PlacementView, state: ActualState, **facts: object) -> None:
        self.reports += 1
        report = Report(
            seq=self.reports, placement_id=placement.id, epoch=placement.epoch, state=state, **facts
        )
        async with self.database.transaction() as session:
            await self.jobs.record_report(session, placement.node_id, report)

    async def running(self, job: JobView) -> PlacementView:
        """The job, claimed and proven ready on its node."""
        placement = await self.placement(job.id)
        await self.claim(placement)
        await self.report(placement, ActualState.RUNNING)
        return await self.placement(job.id)

    async def settle_loss(self, job_id: str) -> None:
        """What the failover loop does with a job whose node was lost, before it places it again."""
        async with self.database.transaction() as session:
            assert await self.jobs.settle_loss(session, job_id)

    async def place(self, job_id: str) -> None:
        async with self.database.transaction() as session:
            await self.router.place(session, job_id)

    async def job(self, job_id: str) -> JobView:
        async with self.database.transaction() as session:
            return await self.jobs.get(session, job_id)

    async def receipt(self, booking_id: str) -> ReceiptOut:
        async with self.database.transaction() as session:
            return await self.statements.receipt(session, booking_id, None)

    async def balance(self, account: str) -> int:
        async with self.database.transaction() as session:
            return (await self.ledger.balances(session, [account]))[account]

    async def free_gpus(self, offer_id: str) -> int:
        async with self.database.transaction() as session:
            return (await self.market.offer(session, offer_id)).gpus_free

    async def interval(self, booking_id: str) -> tuple[datetime, datetime | None]:
        async with self.database.transaction() as session:
            row = (
                await session.execute(
                    text("SELECT started_at, ended_at FROM usage_intervals WHERE booking_id = :booking_id"),
                    {"booking_id": booking_id},
                )
            ).one()
        return row[0], row[1]

    async def backdate(self, placement: PlacementView, seconds: float) -> None:
        """Let the run have begun that much earlier, so that a test need not wait for it."""
        async with self.database.transaction() as session:
            for statement in (
                "UPDATE usage_intervals SET started_at = started_at - :s WHERE booking_id = :b AND ended_at IS NULL",
                (
                    "UPDATE placements SET running_at = running_at - :s, metered_from = metered_from - :s, "
                    "claimed_at = claimed_at - :s, created_at = created_at - :s WHERE booking_id = :b"
                ),
                "UPDATE meters SET next_due_at = next_due_at - :s WHERE booking_id = :b",
            ):
                await session.execute(
                    text(statement.replace(":s", f"interval '{seconds} seconds'")),
                    {"b": placement.booking_id},
                )


def job_spec(**changes: object) -> JobSpec:
    """A small job."""
    return JobSpec.model_validate({"command": "true", **changes})
