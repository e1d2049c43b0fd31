"""The sweep of bookings: what should be over and is not."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.bookings import repository
from gp4u_server.bookings.handlers import BookingHandlers
from gp4u_server.catalyst.jobs.events import PlacementEnded
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.types import Outcome
from gp4u_server.kit.db import Database

log = logging.getLogger(__name__)
CHECK_EVERY_S = 300
BACK_OFF_S_MAX = 3600


@dataclass(frozen=True)
class BookingSweepLoop:
    """Ends bookings whose placement is over.

    Handlers run in the transaction that ends the placement, so there is nothing to find here, unless an older release
    or a hand in the database left it. Then the GPU and the money come back from the placement's own facts.

    Each live booking is due for a look again and again; those that cannot be ended are put off for longer and longer,
    so that however many of them there are, the others have their turn.
    """

    database: Database
    jobs: JobService
    handlers: BookingHandlers
    name: str = "booking_sweep"
    interval_s: float = 30.0
    batch: int = 200

    async def run_once(self) -> int:
        """Look at a batch of bookings that are due; answers how many were."""
        async with self.database.transaction() as session:
            now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
            due = await repository.claim_checks(
                session, now=now, next_at=now + timedelta(seconds=CHECK_EVERY_S), limit=self.batch
            )
        for booking_id, job_id in due:
            try:
                async with self.database.transaction() as session:
                    await self._end_if_over(session, booking_id, job_id, now)
            except Exception:  # one booking that cannot be ended keeps no other's GPU and money
                log.exception("ending of booking %s failed", booking_id)
                await self._put_off(booking_id, now)
        return len(due)

    async def _put_off(self, booking_id: str, now: datetime) -> None:
        try:
            async with self.database.transaction() as session:
                failures = await repository.note_failed_check(session, booking_id)
                pause_s = min(CHECK_EVERY_S * 2 ** min(failures, 16), BACK_OFF_S_MAX)
                await repository.put_check_off(session, booking_id, now + timedelta(seconds=pause_s))
        except DBAPIError:  # what cannot even be put off is due again when all others were
            log.exception("putting off booking %s failed", booking_id)

    async def _end_if_over(self, session: AsyncSession, booking_id: str, job_id: str, now: datetime) -> bool:
        placement = await self.jobs.newest_placement(session, job_id)
        if placement is not None and placement.booking_id == booking_id and placement.ended_at is None:
            return False  # nearly all of them: then nothing is locked
        job = await self.jobs.lock(session, job_id)
        if job is None:
            return False
        placement = await self.jobs.newest_placement(session, job_id)
        booking = await repository.one(session, booking_id)
        if booking is None or booking.ended_at is not None:
            return False
        if placement is not None and placement.booking_id == booking_id:
            if placement.ended_at is None:
                return False
            at, outcome = placement.ended_at, placement.outcome or Outcome.LOST
            saved_until = placement.checkpoint_at or placement.running_at
        elif not job.state.is_final and placement is None:
            return False
        else:
            # A newer placement has another booking: this one's ended without telling, and what it ran is not proven.
            at, outcome, saved_until = now, Outcome.LOST, None
        log.warning("booking %s of job %s was left live; ending it", booking_id, job_id)
        await self.handlers.placement_ended(
            session,
            PlacementEnded(
                job_id=job_id,
                renter_id=job.renter_id,
                placement_id=placement.id if placement else "",
                epoch=job.epoch,
                booking_id=booking_id,
                outcome=outcome,
                at=at,
                saved_until=saved_until,
            ),
        )
        return True
