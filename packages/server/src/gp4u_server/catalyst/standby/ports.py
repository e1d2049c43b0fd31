"""What standbys need from outside: offers by the router's score, sealed checkpoints, meters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gp4u_protocol.messages import RestorePoint
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.catalyst.jobs.views import JobView, PlacementView
from gp4u_server.market.types import OfferView


class Scored(Protocol):
    """One offer as the router weighed it for a move of the job (catalyst.routing has it)."""

    @property
    def offer(self) -> OfferView: ...

    @property
    def rate_per_hour_micros(self) -> int: ...

    @property
    def expected_cost_micros(self) -> int: ...

    @property
    def fits(self) -> bool: ...


class Scoring(Protocol):
    """The router's word on where the job would go if it had to move now."""

    async def weigh_for_move(
        self, session: AsyncSession, job: JobView, placement: PlacementView, now: datetime
    ) -> Sequence[Scored]:
        """Every offer with its numbers, the best first."""
        ...


@dataclass(frozen=True)
class SealedAddresses:
    """Where one checkpoint's objects can be read, for minutes. They are ciphertext."""

    checkpoint: RestorePoint
    manifest_blake3: str
    manifest_url: str
    packs: Mapping[str, str]


@dataclass(frozen=True)
class FolderAddress:
    """Where the folder sent with the job can be read, for minutes."""

    url: str
    size_bytes: int
    blake3: str


class Objects(Protocol):
    """What a node needs to take a job over (catalyst.checkpoints has it)."""

    async def find(self, session: AsyncSession, job: JobView, checkpoint_id: str | None) -> Any:
        """What `sign` takes. Raises CheckpointNotFound."""
        ...

    async def sign(self, found: Any) -> tuple[SealedAddresses | None, FolderAddress | None]:
        """Addresses. Call it outside any transaction: the store may be asked."""
        ...


class StandbyMoney(Protocol):
    """Meters of standbys (bookings has them). Only `open` and `end` touch accounts; the caller has locked the job."""

    async def open(
        self,
        session: AsyncSession,
        *,
        standby_id: str,
        number: int,
        job: JobView,
        booking_id: str,
        offer: OfferView,
        rate_per_hour_micros: int,
    ) -> None:
        """Set money aside. Raises InsufficientFunds, or BudgetSpent when the job's budget leaves nothing."""
        ...

    async def ready(self, session: AsyncSession, standby_id: str, at: datetime) -> None:
        """Time counts from `at`."""
        ...

    async def not_ready(self, session: AsyncSession, standby_id: str, proven_until: datetime) -> None:
        """Time counts until `proven_until`."""
        ...

    async def end(self, session: AsyncSession, standby_id: str, at: datetime) -> None:
        """Post the rest and give back what was set aside. Once, however often told."""
        ...
