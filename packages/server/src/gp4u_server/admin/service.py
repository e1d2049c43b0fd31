"""What admins read, gathered; and the books verified when one asks for it."""

from dataclasses import asdict, dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.admin import repository
from gp4u_server.admin.decisions import spreads
from gp4u_server.admin.errors import VerificationRunning
from gp4u_server.admin.schemas import (
    AdminOverviewOut,
    BacklogOut,
    BooksProblemOut,
    BooksVerificationOut,
    FailoverOut,
    FailoversOut,
    GatewayOut,
    ProcessOut,
    SpreadOut,
)
from gp4u_server.foundation.streams import Streams
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.ledger.verify import verify

DAY = timedelta(days=1)
FAILOVERS_SINCE = timedelta(days=7)
FAILOVERS_MAX = 500
GATEWAYS_MAX = 50
PROBLEMS_MAX = 100
VERIFICATION_KEY = "admin:books"
VERIFICATION_TTL_S = 30 * 24 * 3600


@dataclass(frozen=True)
class AdminDesk:
    """Reads across the domains. `streams` remembers the last verification; losing it loses a note, no fact."""

    database: Database
    streams: Streams
    clock: Clock

    async def overview(self, session: AsyncSession) -> AdminOverviewOut:
        """The market at a glance."""
        now = self.clock.now()
        used, gpus = await repository.devices_in_use(session)
        backlog = await repository.backlog(session, now - DAY)
        return AdminOverviewOut(
            at=now,
            nodes=await repository.nodes_by_state(session),
            gpus_in_use=used,
            gpus_total=gpus,
            jobs_open=await repository.open_jobs_by_state(session),
            jobs_ended_24h=await repository.ended_jobs_by_state(session, now - DAY),
            processes=[ProcessOut(**asdict(view)) for view in await repository.processes(session)],
            gateways=[
                GatewayOut(**asdict(view)) for view in await repository.gateways(session, GATEWAYS_MAX)
            ],
            backlog=BacklogOut(**asdict(backlog)),
        )

    async def failovers(self, session: AsyncSession, newest: int) -> FailoversOut:
        """Measured phases of the last week's failovers, and the `newest` of them."""
        since = self.clock.now() - FAILOVERS_SINCE
        measured = await repository.failovers(session, since, FAILOVERS_MAX)
        phases = spreads(view.recovery_ms for view in measured)
        return FailoversOut(
            since=since,
            measured=len(measured),
            phases={name: SpreadOut(**asdict(spread)) for name, spread in phases.items()},
            newest=[FailoverOut(**asdict(view)) for view in measured[:newest]],
        )

    async def verify_books(self) -> BooksVerificationOut:
        """Recompute every balance, chain and invariant of the ledger, and remember the outcome.

        Raises VerificationRunning while another one reads: it takes as long as the ledger is large.
        """
        began_s = self.clock.monotonic_s()
        async with self.database.transaction() as session:
            if not await repository.reserve_books(session):
                raise VerificationRunning("A verification is running already; its outcome appears here.")
            problems = await verify(session)
            counted = await repository.count_books(session)
        outcome = BooksVerificationOut(
            ok=not problems,
            at=self.clock.now(),
            took_ms=round((self.clock.monotonic_s() - began_s) * 1000),
            transfers=counted.transfers,
            entries=counted.entries,
            accounts=counted.accounts,
            problems_count=len(problems),
            problems=[BooksProblemOut(**asdict(problem)) for problem in problems[:PROBLEMS_MAX]],
        )
        await self.streams.remember(VERIFICATION_KEY, outcome.model_dump(mode="json"), VERIFICATION_TTL_S)
        return outcome

    async def last_verification(self) -> BooksVerificationOut | None:
        """The outcome of the newest verification that is remembered."""
        [found] = await self.streams.recall([VERIFICATION_KEY])
        return BooksVerificationOut.model_validate(found, strict=False) if found else None
