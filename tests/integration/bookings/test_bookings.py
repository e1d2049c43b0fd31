"""From a submitted job to its settled bill, with the real market, router and jobs."""

import asyncio
from datetime import timedelta

import pytest
from gp4u_protocol.messages import ActualState
from gp4u_server.bookings.errors import InsufficientFunds, OfferTaken, RuntimeNotOffered
from gp4u_server.bookings.types import BookingState
from gp4u_server.catalyst.jobs.types import JobState
from gp4u_server.kit.money import allocate, charge_for
from gp4u_server.market.errors import OfferNotFound
from sqlalchemy import text

from tests.integration.bookings.world import BookingWorld

PRICE = 500_000


def price(microseconds: int, rate: int = PRICE) -> int:
    return charge_for(rate, microseconds)


async def test_a_chosen_offer_is_booked_with_devices_and_money(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    offer = await world.offer(owner, price=PRICE, gpus=2)
    job = await world.submit(renter, offer.id, resources={"gpus": 2})
    assert job.state is JobState.STARTING
    async with world.database.transaction() as session:
        [(booking, totals)], following = await world.bookings.of_renter(
            session, renter, cursor=None, limit=50
        )
    assert following is None
    assert booking.state is BookingState.HELD
    assert (booking.owner_id, booking.node_id, len(booking.device_ids)) == (owner, offer.node_id, 2)
    assert booking.rate_per_hour_micros == 2 * PRICE
    assert totals.held_micros == price(170_000_000, 2 * PRICE)
    assert await world.free_gpus(offer.id) == 0
    assert await world.balance(f"wallet:{renter}") == 100_000_000 - totals.held_micros


async def test_a_whole_life_is_billed_from_ready_to_the_end(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    offer = await world.offer(owner, price=PRICE)
    placement = await world.running(await world.submit(renter, offer.id))
    await world.backdate(placement, 130)
    assert await world.metering.run_once() == 1
    receipt = await world.receipt(placement.booking_id)
    assert price(124_000_000) <= receipt.charged_micros <= price(140_000_000)
    assert not receipt.final
    await world.report(placement, ActualState.EXITED, exit_code=0)
    started_at, ended_at = await world.interval(placement.booking_id)
    assert ended_at is not None
    ran_us = (ended_at - started_at) // timedelta(microseconds=1)
    receipt = await world.receipt(placement.booking_id)
    assert receipt.final
    assert (receipt.billed_us, receipt.charged_micros) == (ran_us, price(ran_us))
    assert [receipt.owner_micros, receipt.platform_micros] == allocate(price(ran_us), [80, 20])
    job = await world.job(placement.job_id)
    assert (job.state, job.charged_micros) == (JobState.DONE, price(ran_us))
    assert await world.free_gpus(offer.id) == 1
    assert await world.balance(f"wallet:{renter}") == 100_000_000 - price(ran_us)
    assert await world.balance(f"hold:{placement.booking_id}") == 0


async def test_a_failed_start_is_free_and_gives_the_gpus_back(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    offer = await world.offer(owner)
    job = await world.submit(renter, offer.id)
    placement = await world.placement(job.id)
    await world.claim(placement)
    await world.report(placement, ActualState.START_FAILED, reason="fetch_failed")
    receipt = await world.receipt(placement.booking_id)
    assert (receipt.charged_micros, receipt.lines, receipt.final) == (0, [], True)
    assert await world.free_gpus(offer.id) == 1
    assert await world.balance(f"wallet:{renter}") == 100_000_000


async def test_a_lost_node_costs_the_owner_the_lost_work_and_the_job_goes_on(world: BookingWorld) -> None:
    first_owner, second_owner, renter = await world.person("A"), await world.person("B"), await world.renter()
    cheap = await world.offer(first_owner, price=PRICE)
    dear = await world.offer(second_owner, price=2 * PRICE)
    job = await world.submit(renter)
    placement = await world.running(job)
    assert placement.offer_id == cheap.id
    await world.backdate(placement, 200)
    await world.metering.run_once()
    async with world.database.transaction() as session:
        await session.execute(
            text("UPDATE placements SET checkpoint_at = running_at + interval '90 seconds' WHERE id = :id"),
            {"id": placement.id},
        )
        await world.jobs.record_lease_interrupted(session, placement.node_id, 5.0)
    async with world.database.transaction() as session:
        lost = await world.jobs.record_node_lost(session, placement.node_id, 9.0)
    assert lost == [job.id]
    await world.settle_loss(job.id)
    receipt = await world.receipt(placement.booking_id)
    assert receipt.final
    assert receipt.billed_us == 90_000_000
    assert receipt.charged_micros - receipt.refunded_micros == price(90_000_000)
    assert [line.why for line in receipt.lines] == ["ran", "lost_work"]
    assert await world.balance(f"earnings:{first_owner}") == allocate(price(90_000_000), [80, 20])[0]
    stored = await world.job(job.id)
    assert stored.refunded_micros == receipt.refunded_micros > 0
    assert await refund_titles(world) == ["Lost work refunded"]
    await world.place(job.id)
    second = await world.running(await world.job(job.id))
    assert (second.epoch, second.offer_id) == (2, dear.id)
    await world.report(second, ActualState.EXITED, exit_code=0)
    assert (await world.receipt(second.booking_id)).final
    assert await world.free_gpus(cheap.id) == await world.free_gpus(dear.id) == 1


async def refund_titles(world: BookingWorld) -> list[str]:
    async with world.database.transaction() as session:
        statement = text("SELECT title FROM job_events WHERE kind = 'refunded' ORDER BY id")
        return list(await session.scalars(statement))


async def test_time_that_was_not_confirmed_is_given_back_under_its_own_name(world: BookingWorld) -> None:
    """Its bill and its timeline say the same: nothing was lost here, the lease just did not cover it."""
    owner, renter = await world.person("Otto"), await world.renter()
    await world.offer(owner, price=PRICE)
    placement = await world.running(await world.submit(renter))
    await world.backdate(placement, 100)
    await world.metering.run_once()
    began, _ = await world.interval(placement.booking_id)
    async with world.database.transaction() as session:
        await world.billing.interrupted(session, placement.booking_id, began + timedelta(seconds=60))
    await world.metering.run_once()
    receipt = await world.receipt(placement.booking_id)
    assert receipt.charged_micros - receipt.refunded_micros == price(60_000_000)
    assert await refund_titles(world) == ["Unconfirmed time refunded"]
    await world.report(placement, ActualState.STOPPED)


async def test_h6_agent_clock_skew_changes_no_price(world: BookingWorld) -> None:
    """What an agent says of time is only shown: the bill is the server's receipt times, to the microsecond."""
    owner, renter = await world.person("Otto"), await world.renter()
    await world.offer(owner)
    for skew_ms in (-86_400_000, 0, 86_400_000):
        job = await world.submit(renter)
        placement = await world.placement(job.id)
        await world.claim(placement)
        skewed = {"fetching": skew_ms, "restoring": skew_ms, "starting": skew_ms}
        await world.report(placement, ActualState.RUNNING, durations_ms=skewed)
        await world.report(placement, ActualState.EXITED, exit_code=0, durations_ms=skewed)
        ended = await world.placement(job.id)
        assert ended.running_at is not None
        assert ended.ended_at is not None
        ran_us = (ended.ended_at - ended.running_at) // timedelta(microseconds=1)
        receipt = await world.receipt(placement.booking_id)
        assert (receipt.billed_us, receipt.charged_micros) == (ran_us, price(ran_us))


async def test_h12_negative_balance_a_dry_wallet_stops_the_job_gracefully(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter(price(200_000_000))
    await world.offer(owner, price=PRICE)
    placement = await world.running(await world.submit(renter))
    await world.backdate(placement, 160)
    await world.metering.run_once()
    assert await world.stops.run_once() == 1
    job = await world.job(placement.job_id)
    assert (job.state, job.stop_reason) == (JobState.STOPPING, "wallet_empty")
    await world.report(placement, ActualState.STOPPED)
    job = await world.job(placement.job_id)
    assert (job.state, job.reason) == (JobState.STOPPED, "wallet_empty")
    assert await world.balance(f"wallet:{renter}") > 0


async def test_an_empty_wallet_books_nothing(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter(1_000)
    offer = await world.offer(owner, price=PRICE)
    for offer_id in (offer.id, None):
        with pytest.raises(InsufficientFunds) as refused:
            await world.submit(renter, offer_id)
        assert refused.value.extra["needed_micros"] == price(170_000_000)
    penniless = await world.renter(0)
    with pytest.raises(InsufficientFunds):
        await world.submit(penniless, resources={"gpus": 16})
    assert await world.free_gpus(offer.id) == 1
    async with world.database.transaction() as session:
        assert (await session.execute(text("SELECT count(*) FROM jobs"))).scalar_one() == 0


async def test_a_job_that_fits_nowhere_waits_unbilled(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    await world.offer(owner)
    job = await world.submit(renter, resources={"gpus": 8})
    assert job.state is JobState.QUEUED
    assert await world.balance(f"wallet:{renter}") == 100_000_000


async def test_an_unknown_offer_is_not_found(world: BookingWorld) -> None:
    renter = await world.renter()
    with pytest.raises(OfferNotFound):
        await world.submit(renter, "off_none")


async def test_h1_double_booking_32_clients_for_one_gpu(world: BookingWorld) -> None:
    owner = await world.person("Otto")
    offer = await world.offer(owner, price=PRICE)
    renters = [await world.renter() for _ in range(4)]

    async def book(number: int) -> bool:
        try:
            await world.submit(renters[number % 4], offer.id)
        except OfferTaken:
            return False
        return True

    assert sum(await asyncio.gather(*(book(number) for number in range(32)))) == 1
    assert await world.free_gpus(offer.id) == 0


async def test_h1_double_booking_is_refused_by_the_database_behind_the_markets_back(
    world: BookingWorld,
) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    offer = await world.offer(owner)
    job = await world.submit(renter, offer.id)
    async with world.database.transaction() as session:
        await session.execute(text("UPDATE devices SET taken_as = NULL"))
        await session.execute(text("UPDATE offers SET gpus_free = gpus_total"))
    with pytest.raises(OfferTaken):
        await world.submit(renter, offer.id)
    async with world.database.transaction() as session:
        await session.execute(text("UPDATE devices SET taken_as = 'take_test'"))
        await session.execute(text("UPDATE offers SET gpus_free = 0"))
        await world.jobs.request_stop(session, job.id, "by_renter")
    assert await world.free_gpus(offer.id) == 1


async def test_the_sweep_ends_bookings_that_were_left_live(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    offer = await world.offer(owner)
    placement = await world.running(await world.submit(renter, offer.id))
    await world.backdate(placement, 100)
    async with world.database.transaction() as session:
        # As a hand in the database would end it: no event is published.
        await session.execute(
            text("UPDATE placements SET state = 'ended', outcome = 'done', ended_at = now() WHERE id = :id"),
            {"id": placement.id},
        )
        await session.execute(
            text("UPDATE jobs SET state = 'done', ended_at = now() WHERE id = :id"), {"id": placement.job_id}
        )
        await session.execute(text("UPDATE bookings SET check_at = clock_timestamp() - interval '2 minutes'"))
    assert await world.sweep.run_once() == 1
    assert await world.sweep.run_once() == 0
    receipt = await world.receipt(placement.booking_id)
    assert receipt.final
    assert receipt.billed_us >= 100_000_000
    assert await world.free_gpus(offer.id) == 1


IMAGE = f"docker.io/library/busybox@sha256:{'0' * 64}"


async def test_a_job_with_an_image_that_no_listed_node_can_run_is_refused_at_once(
    world: BookingWorld,
) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    await world.offer(owner, price=PRICE)
    with pytest.raises(RuntimeNotOffered, match="No listed node runs container images"):
        await world.submit(renter, image=IMAGE)


async def test_a_job_with_an_image_goes_to_a_node_that_proved_containers(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    cheap, fit = await world.offer(owner, price=PRICE), await world.offer(owner, price=2 * PRICE)
    async with world.database.transaction() as session:
        await session.execute(
            text("UPDATE offers SET runtimes = '{sandbox,containers}' WHERE id = :id"), {"id": fit.id}
        )
    job = await world.submit(renter, image=IMAGE)
    assert job.state is JobState.STARTING
    assert await world.free_gpus(fit.id) < fit.gpus_free
    assert await world.free_gpus(cheap.id) == cheap.gpus_free
