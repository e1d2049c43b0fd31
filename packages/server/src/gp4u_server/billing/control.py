"""Control loops of billing. The controller calls `run_once` again and again, `interval_s` apart.

A meter needs no claim token: nothing outside the database is touched, so its own row lock, taken after the job's and
checked against `next_due_at` again, makes two controllers do it once.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError

from gp4u_server.billing import repository
from gp4u_server.billing.models import MeterRow
from gp4u_server.billing.ports import JobLock, LeaseCoverage
from gp4u_server.billing.service import BillingService
from gp4u_server.billing.top_ups import TopUpService
from gp4u_server.kit.db import Database

log = logging.getLogger(__name__)
SETTLE_AFTER_S = 10
BACK_OFF_S_MAX = 300


@dataclass(frozen=True)
class MeteringLoop:
    """Posts running time, fills holds up, settles what was left unsettled."""

    database: Database
    billing: BillingService
    jobs: JobLock
    coverage: LeaseCoverage | None = None
    name: str = "metering"
    interval_s: float = 1.0
    batch: int = 200

    async def run_once(self) -> int:
        """Post every meter that is due; answers how many. One bad meter is put off and stops no other."""
        async with self.database.transaction() as session:
            now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
            due = await repository.due(session, now, self.batch)
            left = await repository.unsettled(
                session, now=now, ended_before=now - timedelta(seconds=SETTLE_AFTER_S), limit=self.batch
            )
        return await self._each(due, now, settle=False) + await self._each(left, now, settle=True)

    async def _each(self, meters: Sequence[tuple[str, str]], now: datetime, *, settle: bool) -> int:
        done = 0
        for booking_id, job_id in meters:
            try:
                async with self.database.transaction() as session:
                    if not await self.jobs.lock_job(session, job_id, skip_locked=True):
                        continue  # another controller is at it, or its report comes in: due again at the next look
                    if settle:
                        done += await self.billing.settle(session, booking_id)
                    else:
                        done += await self.billing.post_due(session, booking_id, now, self.coverage)
            except Exception:
                log.exception("metering of %s failed", booking_id)
                try:
                    await self._put_off(booking_id, now, settle=settle)
                except DBAPIError:  # a row that cannot even be written stops no other
                    log.exception("putting off %s failed", booking_id)
        return done

    async def _put_off(self, booking_id: str, now: datetime, *, settle: bool) -> None:
        async with self.database.transaction() as session:
            failures: int | None = (
                await session.execute(
                    update(MeterRow)
                    .where(MeterRow.booking_id == booking_id)
                    .values(failures=MeterRow.failures + 1)
                    .returning(MeterRow.failures)
                )
            ).scalar_one_or_none()
            until = now + timedelta(seconds=min(2 ** min(failures or 1, 16), BACK_OFF_S_MAX))
            if settle:
                put_off = update(MeterRow).values(settle_at=until)
            else:
                put_off = update(MeterRow).where(MeterRow.next_due_at.is_not(None)).values(next_due_at=until)
            await session.execute(put_off.where(MeterRow.booking_id == booking_id))


@dataclass(frozen=True)
class TopUpLoop:
    """Finishes top-ups whose outcome was left open."""

    top_ups: TopUpService
    name: str = "top_ups"
    interval_s: float = 10.0

    async def run_once(self) -> int:
        """Look at a batch of open attempts; answers how many."""
        return await self.top_ups.finish_open()
