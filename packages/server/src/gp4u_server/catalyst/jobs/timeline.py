"""The timeline of a job: one row for each thing that its renter should know, with instant, duration and cost so far."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.events import TimelineGrew
from gp4u_server.catalyst.jobs.models import Job, JobEventRow
from gp4u_server.catalyst.jobs.types import EventKind
from gp4u_server.foundation.events import EventBus

EVENTS_PAGE_MAX = 500
CHECKPOINTS_SHOWN_ALL = 200
"""Beyond this many checkpoints only every tenth gets an entry: a month of a job must stay readable."""


@dataclass(frozen=True)
class Timeline:
    """Appends entries. The caller holds the job's row lock, so a job's ids become visible in order."""

    bus: EventBus

    async def append(
        self,
        session: AsyncSession,
        job: Job,
        kind: EventKind,
        title: str,
        *,
        epoch: int | None = None,
        ms: int | None = None,
        **detail: Any,
    ) -> None:
        """Write one entry and announce it."""
        statement = (
            insert(JobEventRow)
            .values(
                job_id=job.id,
                kind=kind.value,
                epoch=epoch,
                title=title,
                detail={key: value for key, value in detail.items() if value is not None},
                ms=ms,
                cost_micros=job.charged_micros - job.refunded_micros,
            )
            .returning(JobEventRow.id)
        )
        event_id = (await session.execute(statement)).scalar_one()
        await self.bus.publish(
            session, TimelineGrew(job_id=job.id, renter_id=job.renter_id, event_id=event_id)
        )


async def read_timeline(session: AsyncSession, job_id: str, after: int, limit: int) -> list[JobEventRow]:
    """Entries with an id over `after`, oldest first."""
    statement = (
        select(JobEventRow)
        .where(JobEventRow.job_id == job_id, JobEventRow.id > after)
        .order_by(JobEventRow.id)
        .limit(min(max(limit, 1), EVENTS_PAGE_MAX))
    )
    return list((await session.scalars(statement)).all())
