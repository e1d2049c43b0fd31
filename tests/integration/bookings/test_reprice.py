"""Owners who change, pause, withdraw or remove what somebody is renting or about to rent."""

import pytest
from gp4u_protocol.messages import ActualState
from gp4u_server.bookings.errors import OfferTaken
from gp4u_server.market.types import OfferState
from gp4u_server.nodes.errors import NodeBusy

from tests.integration.bookings.world import BookingWorld, job_spec

PRICE = 500_000


async def reprice(world: BookingWorld, owner: str, offer_id: str, **how: object) -> None:
    state = how.pop("state", None)
    async with world.database.transaction() as session:
        await world.market.change_offer(
            session,
            owner_id=owner,
            offer_id=offer_id,
            terms=how,
            state=state,  # type: ignore[arg-type]
        )


async def test_a_price_that_rose_since_it_was_weighed_is_not_booked(world: BookingWorld) -> None:
    """The router chose at one price, and the owner raised it before the devices were locked."""
    owner, renter = await world.person("Otto"), await world.renter()
    offer = await world.offer(owner, price=PRICE)
    async with world.database.transaction() as session:
        job = await world.jobs.create(session, renter, job_spec(), None)
    now = world.clock.now()
    await reprice(world, owner, offer.id, price_per_gpu_hour_micros=PRICE + 1)
    capacity = world.router.capacity
    with pytest.raises(OfferTaken):
        async with world.database.transaction() as session:
            await capacity.reserve(session, job=job, offer=offer, gpus=1, now=now)
    assert await world.free_gpus(offer.id) == 1
    assert await world.balance(f"wallet:{renter}") == 100_000_000
    await reprice(world, owner, offer.id, price_per_gpu_hour_micros=PRICE - 1)
    async with world.database.transaction() as session:
        reserved = await capacity.reserve(session, job=job, offer=offer, gpus=1, now=now)
    assert reserved.rate_per_hour_micros == PRICE - 1  # a price that fell is the renter's luck


async def test_a_running_booking_keeps_its_rate_and_its_gpus_whatever_the_owner_does(
    world: BookingWorld,
) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    offer = await world.offer(owner, price=PRICE, gpus=2)
    placement = await world.running(await world.submit(renter, offer.id))
    await world.backdate(placement, 3600)
    await reprice(world, owner, offer.id, price_per_gpu_hour_micros=1_000_000_000)
    await reprice(world, owner, offer.id, state=OfferState.PAUSED)
    await reprice(world, owner, offer.id, state=OfferState.WITHDRAWN)
    with pytest.raises(NodeBusy):
        async with world.database.transaction() as session:
            await world.nodes.remove(session, owner, offer.node_id)
    async with world.database.transaction() as session:
        again = await world.list_node(session, owner, offer.node_id, price=2 * PRICE)
    assert again.gpus_free == 1  # the other one is still somebody's
    await world.metering.run_once()
    await world.report(placement, ActualState.EXITED, exit_code=0)
    receipt = await world.receipt(placement.booking_id)
    assert receipt.rate_per_hour_micros == PRICE
    assert PRICE <= receipt.charged_micros < PRICE * 11 // 10
    assert await world.free_gpus(again.id) == 2
