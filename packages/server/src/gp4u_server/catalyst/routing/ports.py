"""What routing needs from outside: capacity from above (bookings). Jobs lie below and are used as they are."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gp4u_protocol.transparent import TransparentFacts
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.views import JobView
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


class FirstChoice(Protocol):
    """Who is tried before all others, whatever it costs, as long as it fits (catalyst.standby has it)."""

    async def first_choice(self, session: AsyncSession, job: JobView) -> str | None:
        """A node that is prepared for this job."""
        ...

    async def placed(self, session: AsyncSession, job: JobView, node_id: str) -> None:
        """The job has just got a placement on this node. The job's row is locked."""
        ...


class Footprint(Protocol):
    """How much a node must fetch before the job can run (whoever stores checkpoints and uploads has it)."""

    async def bytes_to_fetch(self, session: AsyncSession, job: JobView) -> int:
        """Bytes of the job's folder and of the checkpoint it restores."""
        ...

    async def dumped_on(self, session: AsyncSession, job: JobView) -> TransparentFacts | None:
        """What the node was on which the whole job was dumped that it restores; None: it restores files, or nothing."""
        ...
