"""What routing needs from outside: capacity from above (bookings), jobs from below (catalyst.jobs)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.views import JobView, PlacementView
from gp4u_server.market.types import OfferView


@dataclass(frozen=True)
class Reservation:
    """Devices and money set aside for one placement. The rate is for all the GPUs together."""

    booking_id: str
    device_uuids: tuple[str, ...]
    rate_per_hour_micros: int


class Capacity(Protocol):
    """Books an offer for a job (bookings has it)."""

    async def reserve(
        self, session: AsyncSession, *, job: JobView, offer: OfferView, gpus: int, now: datetime
    ) -> Reservation:
        """Take the devices, hold the money, write the booking: all in the caller's transaction.

        Runs inside a savepoint of the router's. Raises market.errors.OfferTaken when somebody was faster (the router
        tries the next candidate); any other DomainError, such as insufficient funds, ends the placing.
        """
        ...


class Jobs(Protocol):
    """The part of catalyst.jobs that routing lives on."""

    async def lock_for_placing(self, session: AsyncSession, job_id: str) -> JobView | None:
        """The job, its row locked until commit, when it waits for a placement (queued or recovering); else None."""
        ...

    async def create_placement(
        self,
        session: AsyncSession,
        job: JobView,
        *,
        offer: OfferView,
        booking_id: str,
        device_uuids: Sequence[str],
        rate_per_hour_micros: int,
        decision: dict[str, Any],
        now: datetime,
    ) -> PlacementView:
        """Epoch + 1, the placement, its timeline entry (`decision` is its detail) and the node's desired version."""
        ...

    async def record_waiting(
        self, session: AsyncSession, job: JobView, *, detail: dict[str, Any], retry_at: datetime
    ) -> None:
        """Nothing fits now: timeline `waiting` (when its sentence is new), `next_attempt_at`, attempts + 1."""
        ...
