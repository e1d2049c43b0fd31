"""`JobService`: all use cases of jobs. Each stands in the file of its name; every change locks the job's row first.

* submitting: submit, read, lock
* placing: the next placement, or waiting for it
* reports: what nodes say of their placements
* leases: a node's lease wavers, returns, is lost
* losses: settle what a lost run left open
* moving: leave a node that goes out of service
* stopping: stops, limits, giving up
* below: what it cost so far
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.leases import Leases
from gp4u_server.catalyst.jobs.moving import Moving
from gp4u_server.catalyst.jobs.placing import Placing
from gp4u_server.catalyst.jobs.reports import LeasedPlacement, Reports
from gp4u_server.catalyst.jobs.stopping import Stopping
from gp4u_server.catalyst.jobs.submitting import Submitting
from gp4u_server.catalyst.jobs.types import EventKind

__all__ = ["JobService", "LeasedPlacement"]


@dataclass(frozen=True)
class JobService(Submitting, Placing, Reports, Leases, Moving, Stopping):
    """See each use case. Sessions come first, nothing here commits, `at` values are the database's time."""

    async def tell(
        self,
        session: AsyncSession,
        job_id: str,
        kind: EventKind,
        title: str,
        *,
        ms: int | None = None,
        **detail: Any,
    ) -> None:
        """Put something onto the job's timeline that changes nothing about the job. Raises JobNotFound."""
        job = await self._locked(session, job_id)
        await self._timeline.append(session, job, kind, title, epoch=job.epoch, ms=ms, **detail)

    async def record_charge(
        self,
        session: AsyncSession,
        job_id: str,
        charged_delta: int,
        refunded_delta: int = 0,
        refund_title: str = "Refunded",
    ) -> None:
        """Billing posted a charge or a refund, in micro-units: keep the job's totals and show refunds.

        `refund_title` is what the timeline says: what was given back.
        """
        job = await self._locked(session, job_id)
        job.charged_micros += charged_delta
        job.refunded_micros += refunded_delta
        if refunded_delta > 0:
            await self._timeline.append(
                session,
                job,
                EventKind.REFUNDED,
                refund_title,
                epoch=job.epoch,
                refunded_micros=refunded_delta,
            )
        else:
            await session.flush()
