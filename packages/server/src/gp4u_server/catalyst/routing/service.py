"""Placing jobs: decide, reserve, place, and remember why."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.routing.ports import Capacity, Jobs
from gp4u_server.kit.clock import Clock
from gp4u_server.market.service import MarketService


@dataclass(frozen=True)
class PlaceResult:
    """What came of one attempt. `placed` False with `retry_at` set: nothing fits now; None: nothing to place."""

    placed: bool
    job_id: str
    summary: str
    decision_id: str | None = None
    placement_id: str | None = None
    epoch: int | None = None
    node_id: str | None = None
    offer_id: str | None = None
    booking_id: str | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True)
class Router:
    """Chooses where a job runs."""

    market: MarketService
    jobs: Jobs
    capacity: Capacity
    clock: Clock

    async def place(self, session: AsyncSession, job_id: str, *, now: datetime | None = None) -> PlaceResult:
        """Place a waiting job, in the caller's transaction. Harmless when the job does not wait (any more).

        A job that was submitted with a chosen offer (`job.offer_id`) and never ran is placed there or not at all:
        OfferTaken and RequirementsNotMet are raised, so the submission is refused as a whole. Otherwise nothing that
        fits is an outcome, not an error. DomainErrors of `Capacity.reserve` (insufficient funds) pass through.
        """
        raise NotImplementedError
