"""Use cases of the market. The session comes first; nothing here commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gp4u_protocol.job_spec import Resources
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.kit.clock import Clock
from gp4u_server.kit.ids import new_id
from gp4u_server.market import decisions, repository, search
from gp4u_server.market.catalogue import Catalogue
from gp4u_server.market.errors import OfferExists, OfferNotFound, OfferTaken, OfferWithdrawn
from gp4u_server.market.query import Query
from gp4u_server.market.types import OfferState, OfferView, TakenDevices
from gp4u_server.nodes.errors import DevicesTaken, NodeNotFound
from gp4u_server.nodes.service import NodeService

CANDIDATES_MAX = 200


@dataclass(frozen=True)
class Terms:
    """What an owner asks. Prices are micro-units per GPU and hour."""

    price_per_gpu_hour_micros: int
    interruptible_floor_micros: int | None
    duration_s_min: int
    duration_s_max: int


@dataclass(frozen=True)
class MarketService:
    """Offers: search, taking and releasing their devices, listing and changing them.

    Whoever changes what a node's offer says locks the node first, then the offer.
    """

    nodes: NodeService
    catalogue: Catalogue
    clock: Clock

    # --- finding -----------------------------------------------------------------------------------------

    async def search(
        self, session: AsyncSession, query: Query, *, cursor: str | None = None, limit: int = 50
    ) -> search.Found:
        """Offers that can be booked now, with total and facets. Raises InvalidCursor."""
        return await search.search(session, query, cursor=cursor, limit=limit)

    async def offer(self, session: AsyncSession, offer_id: str) -> OfferView:
        """One offer in any state. Raises OfferNotFound."""
        found = await repository.offer(session, offer_id)
        if found is None:
            raise OfferNotFound("There is no such offer.")
        return found

    async def list_owned(
        self, session: AsyncSession, owner_id: str, *, before_id: str | None, limit: int
    ) -> list[OfferView]:
        """A page of an owner's offers in every state, newest first."""
        return await repository.owned_offers(session, owner_id, before_id=before_id, limit=limit)

    def models_of(self, resources: Resources) -> tuple[str, ...]:
        """The catalogue's models that `resources` accepts; empty means any. Raises UnknownModel."""
        named = (model for name in resources.gpu_models for model in self.catalogue.resolve(name))
        return tuple(dict.fromkeys(named))

    async def candidates(
        self,
        session: AsyncSession,
        resources: Resources,
        *,
        runtime: str,
        offer_id: str | None = None,
        limit: int = CANDIDATES_MAX,
    ) -> list[OfferView]:
        """Listed offers for a routing decision, those that do not fit included, at most `limit`.

        With `offer_id` only that offer (in whatever state it is). Those that fail the fewest of the resources'
        limits and have the runtime come first, then those with the most throughput for their price. Raises UnknownModel.
        """
        models = self.models_of(resources)
        if offer_id is not None:
            return [await self.offer(session, offer_id)]
        regions = [region.lower() for region in resources.regions]
        return await repository.candidates(session, resources, runtime, models, regions, limit)

    async def has_runtime(self, session: AsyncSession, runtime: str) -> bool:
        """Whether any listed offer's node proved this runtime, free at the moment or not."""
        return await repository.has_runtime(session, runtime)

    # --- taking ------------------------------------------------------------------------------------------

    async def take_devices(self, session: AsyncSession, offer_id: str, gpus: int) -> TakenDevices:
        """Take `gpus` free GPUs of a bookable offer; they leave search at commit.

        Raises OfferNotFound, and OfferTaken when fewer are free or the offer cannot be booked any more; then
        nothing was taken, nothing is locked, and the session is usable.
        """
        if gpus < 1:
            raise ValueError("take at least one GPU")
        node_id = await repository.node_of(session, offer_id)
        if node_id is None:
            raise OfferNotFound("There is no such offer.")
        try:
            async with session.begin_nested():
                await self.nodes.lock(session, node_id)
                offer = await repository.take(session, offer_id, gpus)
                if offer is None:
                    raise OfferTaken("Somebody was faster: this offer has not enough free GPUs any more.")
                devices = await self.nodes.take_devices(session, node_id, model=offer.gpu_model, gpus=gpus)
        except (DevicesTaken, NodeNotFound) as error:
            raise OfferTaken("Somebody was faster: this offer cannot be booked any more.") from error
        return TakenDevices(
            offer, tuple(device.id for device in devices), tuple(device.uuid for device in devices)
        )

    async def release_devices(self, session: AsyncSession, offer_id: str, device_ids: Sequence[str]) -> None:
        """Give devices back; they are in search again at commit. Harmless when repeated."""
        node_id = await repository.node_of(session, offer_id)
        if node_id is None:
            raise OfferNotFound("There is no such offer.")
        try:
            await self.nodes.lock(session, node_id)
        except NodeNotFound:
            return  # a node is removed only when none of its devices is taken
        if await self.nodes.release_devices(session, node_id, list(device_ids)):
            await self.refresh(session, node_id)

    # --- owners ------------------------------------------------------------------------------------------

    async def list_node(
        self, session: AsyncSession, *, owner_id: str, owner_name: str, node_id: str, terms: Terms
    ) -> OfferView:
        """List a node's GPUs. Searchable at commit, once the node is verified and online.

        Raises NodeNotFound, NodeHasNoGpu, TermsInvalid, OfferExists.
        """
        _check(terms)
        await self.nodes.read_owned(
            session, owner_id, node_id
        )  # another's node is answered like a missing one
        node = await self.nodes.view(session, node_id, lock=True)
        model = decisions.offered_model(node, self.catalogue)
        now = self.clock.now()
        try:
            async with session.begin_nested():
                return await repository.insert_offer(
                    session,
                    id=new_id("offer"),
                    node_id=node_id,
                    owner_id=owner_id,
                    owner_name=owner_name,
                    state=OfferState.LISTED,
                    listed_at=now,
                    refreshed_at=now,
                    **_terms_columns(terms),
                    **decisions.model_columns(model),
                    **decisions.node_columns(node, model.model),
                    perf_per_dollar=decisions.perf_per_dollar(
                        model.fp16_tflops, terms.price_per_gpu_hour_micros
                    ),
                )
        except IntegrityError as error:
            if "uq_offers_node" not in str(error.orig):
                raise
            raise OfferExists(
                f"{node.name} is listed already. Change that offer, or withdraw it first."
            ) from error

    async def change_offer(
        self,
        session: AsyncSession,
        *,
        owner_id: str,
        offer_id: str,
        terms: Mapping[str, int | None],
        state: OfferState | None = None,
    ) -> OfferView:
        """Change some terms (by the names of `Terms`) or the state. Bookings keep their rate; withdrawing is final.

        What is not named stays as it is *under the lock*: of two changes at once neither takes the other back.
        Raises OfferNotFound, OfferWithdrawn, TermsInvalid.
        """
        offer = await self._lock_owned(session, owner_id, offer_id)
        if offer.state is OfferState.WITHDRAWN:
            if state is not OfferState.WITHDRAWN:
                raise OfferWithdrawn("This offer was withdrawn. List the node again.")
            return offer
        changed = replace(_terms_of(offer), **terms)  # type: ignore[arg-type]
        _check(changed)
        return await repository.change_offer(
            session,
            offer_id,
            state=state or offer.state,
            **_terms_columns(changed),
            perf_per_dollar=decisions.perf_per_dollar(offer.fp16_tflops, changed.price_per_gpu_hour_micros),
        )

    async def _lock_owned(self, session: AsyncSession, owner_id: str, offer_id: str) -> OfferView:
        offer = await repository.offer(session, offer_id)
        if offer is None or offer.owner_id != owner_id:
            raise OfferNotFound("There is no such offer of yours.")
        if offer.state is not OfferState.WITHDRAWN:
            await self.nodes.lock(session, offer.node_id)
        return await self.offer(session, offer_id)

    # --- keeping offers in step ----------------------------------------------------------------------------

    async def listed(self, session: AsyncSession, node_ids: Sequence[str]) -> list[str]:
        """Those of these nodes that have an offer, in the order of their ids."""
        return sorted(await repository.nodes_with_offers(session, node_ids))

    async def refresh(self, session: AsyncSession, node_id: str) -> None:
        """Bring the node's offer up to date with the node: liveness, free devices, hardware, reliability."""
        offer = await repository.standing_offer(session, node_id)
        if offer is None:
            return
        try:
            node = await self.nodes.view(session, node_id, lock=True)
        except NodeNotFound:
            await self.withdraw(session, node_id)
            return
        await repository.change_offer(
            session,
            offer.id,
            refreshed_at=self.clock.now(),
            **decisions.node_columns(node, offer.gpu_model),
        )

    async def withdraw(self, session: AsyncSession, node_id: str) -> None:
        """The node is gone, and so is its offer."""
        offer = await repository.standing_offer(session, node_id)
        if offer is not None:
            await repository.change_offer(session, offer.id, state=OfferState.WITHDRAWN, node_ready=False)

    async def stale_nodes(self, session: AsyncSession, *, before: datetime, limit: int = 100) -> list[str]:
        """Nodes whose offers show a reliability from before then; `refresh` each in a transaction of its own."""
        return await repository.stale_nodes(session, before, limit)

    async def put_refresh_off(self, session: AsyncSession, node_id: str) -> None:
        """Behind all others that are stale: its refresh failed, and would be the first to be tried again."""
        await repository.touch_standing_offer(session, node_id, self.clock.now())


def _check(terms: Terms) -> None:
    decisions.check_terms(
        price_micros=terms.price_per_gpu_hour_micros,
        floor_micros=terms.interruptible_floor_micros,
        duration_s_min=terms.duration_s_min,
        duration_s_max=terms.duration_s_max,
    )


def _terms_of(offer: OfferView) -> Terms:
    return Terms(
        offer.price_per_gpu_hour_micros,
        offer.interruptible_floor_micros,
        offer.duration_s_min,
        offer.duration_s_max,
    )


def _terms_columns(terms: Terms) -> dict[str, int | None]:
    return {
        "price_per_gpu_hour_micros": terms.price_per_gpu_hour_micros,
        "interruptible_floor_micros": terms.interruptible_floor_micros,
        "duration_s_min": terms.duration_s_min,
        "duration_s_max": terms.duration_s_max,
    }
