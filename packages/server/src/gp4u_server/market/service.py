"""Use cases of the market. The session comes first; nothing here commits."""

from dataclasses import dataclass

from gp4u_protocol.job_spec import Resources
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.market.types import OfferView, TakenDevices


@dataclass(frozen=True)
class MarketService:
    """Offers: search, taking and releasing their devices, listing and changing them."""

    async def candidates(
        self, session: AsyncSession, resources: Resources, *, offer_id: str | None = None, limit: int = 200
    ) -> list[OfferView]:
        """Listed offers for a routing decision, those that do not fit included, at most `limit`.

        With `offer_id` only that offer (in whatever state it is). Those that fit come first, cheapest first.
        """
        raise NotImplementedError

    async def offer(self, session: AsyncSession, offer_id: str) -> OfferView:
        """One offer in any state. Raises OfferNotFound."""
        raise NotImplementedError

    async def take_devices(self, session: AsyncSession, offer_id: str, gpus: int) -> TakenDevices:
        """Take `gpus` free GPUs of a bookable offer; they leave search at commit.

        Raises OfferNotFound, and OfferTaken when fewer are free or the offer cannot be booked any more; then
        nothing was taken, and the session is usable.
        """
        raise NotImplementedError

    async def release_devices(
        self, session: AsyncSession, offer_id: str, device_ids: tuple[str, ...] | list[str]
    ) -> None:
        """Give devices back; they are in search again at commit. Harmless when repeated."""
        raise NotImplementedError
