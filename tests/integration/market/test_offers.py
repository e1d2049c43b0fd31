"""Offers: an owner's terms, visible at once, gone at once."""

import asyncio

import pytest
from gp4u_server.kit.errors import NotFound
from gp4u_server.market.control import OfferRefreshLoop
from gp4u_server.market.errors import (
    NodeHasNoGpu,
    OfferExists,
    OfferNotFound,
    OfferTaken,
    OfferWithdrawn,
    TermsInvalid,
)
from gp4u_server.market.query import Query
from gp4u_server.market.service import Terms
from gp4u_server.market.types import OfferState
from gp4u_server.nodes.types import Liveness
from sqlalchemy import text

from tests.integration.market_world import World, facts

TERMS = Terms(500_000, None, 60, 604_800)


@pytest.fixture
async def world(database) -> World:
    return World(database)


async def found(world: World) -> list[str]:
    async with world.database.transaction() as session:
        page = await world.market.search(session, Query())
    assert page.total == len(page.items)
    return [item["id"] for item in page.items]


async def change(world: World, owner_id: str, offer_id: str, *, terms: Terms = TERMS, state=None):
    return await change_some(world, owner_id, offer_id, vars(terms), state)


async def change_some(world: World, owner_id: str, offer_id: str, terms, state=None):
    async with world.database.transaction() as session:
        return await world.market.change_offer(
            session, owner_id=owner_id, offer_id=offer_id, terms=terms, state=state
        )


async def waiting_for_locks(world: World) -> int:
    """How many transactions of this test's database wait; a transaction of its own, since it sees one state only."""
    async with world.database.transaction() as session:
        return await session.scalar(
            text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )


async def test_of_two_changes_at_once_neither_takes_the_other_back(world):
    """Both wait for the node; each changes only what it names, as it is when its turn has come."""
    owner_id = await world.person()
    offer = await world.offer(owner_id)
    async with world.database.transaction() as session:
        await world.nodes.lock(session, offer.node_id)
        changes = [
            asyncio.create_task(
                change_some(world, owner_id, offer.id, {"price_per_gpu_hour_micros": 700_000})
            ),
            asyncio.create_task(
                change_some(world, owner_id, offer.id, {"interruptible_floor_micros": 300_000})
            ),
            asyncio.create_task(change_some(world, owner_id, offer.id, {}, OfferState.PAUSED)),
        ]
        while await waiting_for_locks(world) < len(changes):
            await asyncio.sleep(0.01)
    await asyncio.gather(*changes)
    async with world.database.transaction() as session:
        now = await world.market.offer(session, offer.id)
    assert (now.price_per_gpu_hour_micros, now.interruptible_floor_micros) == (700_000, 300_000)
    assert now.state is OfferState.PAUSED
    assert now.perf_per_dollar < offer.perf_per_dollar


async def test_h27_a_node_that_cannot_be_read_keeps_no_other_offer_stale(world):
    owner_id = await world.person()
    offers = [await world.offer(owner_id) for _ in range(3)]
    async with world.database.transaction() as session:
        for number, offer in enumerate(offers):
            await session.execute(
                text(
                    "UPDATE offers SET refreshed_at = refreshed_at - (3 - :n) * interval '2 hours' WHERE id = :id"
                ),
                {"n": number, "id": offer.id},
            )
        await session.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN RAISE EXCEPTION ''poison''; END'"
            )
        )
        await session.execute(
            text(
                "CREATE TRIGGER poison BEFORE UPDATE OF reliability ON offers FOR EACH ROW "
                f"WHEN (OLD.id = '{offers[0].id}') EXECUTE FUNCTION refuse()"
            )
        )
    loop = OfferRefreshLoop(world.database, world.market, world.clock)
    assert await loop.run_once() == 3
    assert await loop.run_once() == 0  # nor is the poison tried in a circle
    async with world.database.transaction() as session:
        await session.execute(text("DROP TRIGGER poison ON offers"))


async def test_an_offer_is_found_by_another_session_at_the_first_look_after_its_commit(world):
    owner_id = await world.person()
    joined = await world.enrol(owner_id)
    async with world.database.sessions() as reader, reader.begin():
        await world.market.search(reader, Query())  # a reader that was there before
    async with world.database.transaction() as session:
        offer = await world.list_node(session, owner_id, joined.node_id)
        assert await found(world) == [], "not before the commit"
    assert await found(world) == [offer.id]


async def test_an_offer_disappears_the_moment_it_is_taken_and_is_back_when_released(world):
    offer = await world.offer(await world.person())
    async with world.database.transaction() as session:
        taken = await world.market.take_devices(session, offer.id, 1)
        assert await found(world) == [offer.id], "a booking that is not committed hides nothing"
    assert await found(world) == []
    assert taken.device_uuids
    async with world.database.transaction() as session:
        await world.market.release_devices(session, offer.id, taken.device_ids)
    assert await found(world) == [offer.id]
    await world.check_invariants()


async def test_releasing_twice_frees_nothing_of_the_next_renter(world):
    offer = await world.offer(await world.person(), gpus=2)
    async with world.database.transaction() as session:
        taken = await world.market.take_devices(session, offer.id, 2)
    for _ in range(2):
        async with world.database.transaction() as session:
            await world.market.release_devices(session, offer.id, taken.device_ids)
    async with world.database.transaction() as session:
        assert (await world.market.offer(session, offer.id)).gpus_free == 2
    await world.check_invariants()


@pytest.mark.parametrize("liveness", [Liveness.SUSPECT, Liveness.LOST, Liveness.OFFLINE])
async def test_an_offer_disappears_the_moment_its_node_is_not_online(world, liveness):
    offer = await world.offer(await world.person())
    async with world.database.transaction() as session:
        await world.nodes.record_liveness(
            session, offer.node_id, session_no=1, liveness=liveness, at=world.clock.now()
        )
        assert await found(world) == [offer.id]
    assert await found(world) == []
    async with world.database.transaction() as session:
        with pytest.raises(OfferTaken):
            await world.market.take_devices(session, offer.id, 1)
    async with world.database.transaction() as session:
        await world.nodes.record_liveness(
            session, offer.node_id, session_no=1, liveness=Liveness.ONLINE, at=world.clock.now()
        )
    assert await found(world) == [offer.id]
    await world.check_invariants()


async def test_an_offer_of_a_node_that_never_connected_waits(world):
    owner_id = await world.person()
    machine = facts()
    joined = await world.enrol(owner_id, machine, online=False)
    async with world.database.transaction() as session:
        offer = await world.list_node(session, owner_id, joined.node_id)
    assert await found(world) == []
    await world.connect(joined.node_id, machine)
    assert await found(world) == [offer.id]


async def test_h1_64_takers_of_8_gpus_get_exactly_8(world):
    offer = await world.offer(await world.person(), gpus=8, model="H100_SXM")

    async def take():
        async with world.database.transaction() as session:
            return await world.market.take_devices(session, offer.id, 1)

    outcomes = await asyncio.gather(*(take() for _ in range(64)), return_exceptions=True)
    taken = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)} == {OfferTaken}
    assert len(taken) == 8
    assert len({uuid for outcome in taken for uuid in outcome.device_uuids}) == 8
    async with world.database.transaction() as session:
        assert (await world.market.offer(session, offer.id)).gpus_free == 0
    await world.check_invariants()


async def test_h1_taking_and_releasing_at_once_keeps_the_count_right(world):
    offer = await world.offer(await world.person(), gpus=4, model="L40S")

    async def rent() -> bool:
        try:
            async with world.database.transaction() as session:
                taken = await world.market.take_devices(session, offer.id, 2)
        except OfferTaken:
            return False
        async with world.database.transaction() as session:
            await world.market.release_devices(session, offer.id, taken.device_ids)
        return True

    async def flap() -> None:
        for liveness in (Liveness.SUSPECT, Liveness.ONLINE) * 5:
            async with world.database.transaction() as session:
                await world.nodes.record_liveness(
                    session, offer.node_id, session_no=1, liveness=liveness, at=world.clock.now()
                )

    rented, *_ = await asyncio.gather(asyncio.gather(*(rent() for _ in range(40))), flap())
    assert any(rented)
    await world.check_invariants()
    async with world.database.transaction() as session:
        assert (await world.market.offer(session, offer.id)).gpus_free == 4


async def test_a_take_that_fails_takes_nothing_and_leaves_the_session_usable(world):
    offer = await world.offer(await world.person(), gpus=2)
    async with world.database.transaction() as session:
        with pytest.raises(OfferTaken):
            await world.market.take_devices(session, offer.id, 3)
        taken = await world.market.take_devices(session, offer.id, 2)
    assert len(taken.device_ids) == 2
    async with world.database.transaction() as session:
        with pytest.raises(OfferNotFound):
            await world.market.take_devices(session, "offer_none", 1)


async def test_one_live_offer_a_node(world):
    owner_id = await world.person()
    offer = await world.offer(owner_id)
    async with world.database.transaction() as session:
        with pytest.raises(OfferExists):
            await world.list_node(session, owner_id, offer.node_id)
    await change(world, owner_id, offer.id, state=OfferState.WITHDRAWN)
    async with world.database.transaction() as session:
        again = await world.list_node(session, owner_id, offer.node_id)
    assert await found(world) == [again.id]
    with pytest.raises(OfferWithdrawn):
        await change(world, owner_id, offer.id, state=OfferState.LISTED)


async def test_listing_one_node_twice_at_once_makes_one_offer(world):
    owner_id = await world.person()
    joined = await world.enrol(owner_id)

    async def list_it():
        async with world.database.transaction() as session:
            return await world.list_node(session, owner_id, joined.node_id)

    outcomes = await asyncio.gather(*(list_it() for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(outcome, OfferExists) for outcome in outcomes) == 9
    assert len(await found(world)) == 1


async def test_pausing_hides_and_changing_the_price_changes_what_search_says(world):
    owner_id = await world.person()
    offer = await world.offer(owner_id)
    await change(world, owner_id, offer.id, state=OfferState.PAUSED)
    assert await found(world) == []
    cheaper = await change(
        world, owner_id, offer.id, terms=Terms(250_000, 100_000, 60, 3600), state=OfferState.LISTED
    )
    assert cheaper.perf_per_dollar == 2 * offer.perf_per_dollar
    assert await found(world) == [offer.id]


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (Terms(500_000, 600_000, 60, 3600), "interruptible_floor_micros"),
        (Terms(500_000, None, 3600, 60), "duration_s_min"),
    ],
)
async def test_terms_that_contradict_each_other_are_refused(world, terms, field):
    owner_id = await world.person()
    offer = await world.offer(owner_id)
    with pytest.raises(TermsInvalid) as refused:
        await change(world, owner_id, offer.id, terms=terms)
    assert refused.value.extra["field"] == field


async def test_another_owners_node_and_offer_are_not_there(world):
    owner_id, other_id = await world.person(), await world.person()
    offer = await world.offer(owner_id)
    joined = await world.enrol(owner_id)
    with pytest.raises(NotFound):
        await change(world, other_id, offer.id)
    async with world.database.transaction() as session:
        with pytest.raises(NotFound):
            await world.list_node(session, other_id, joined.node_id)


async def test_a_node_of_unknown_cards_cannot_be_listed(world):
    owner_id = await world.person()
    joined = await world.enrol(owner_id, facts(model="Voodoo 2"))
    async with world.database.transaction() as session:
        with pytest.raises(NodeHasNoGpu) as refused:
            await world.list_node(session, owner_id, joined.node_id)
    assert "Voodoo 2" in refused.value.detail


async def test_removing_a_node_withdraws_its_offer(world):
    owner_id = await world.person()
    offer = await world.offer(owner_id)
    async with world.database.transaction() as session:
        await world.nodes.remove(session, owner_id, offer.node_id)
    assert await found(world) == []
    async with world.database.transaction() as session:
        assert (await world.market.offer(session, offer.id)).state is OfferState.WITHDRAWN
    await world.check_invariants()


async def test_a_loss_lowers_what_search_shows_once_it_is_attributed(world):
    offer = await world.offer(await world.person())
    for liveness in (Liveness.LOST, Liveness.ONLINE):
        async with world.database.transaction() as session:
            await world.nodes.record_liveness(
                session, offer.node_id, session_no=1, liveness=liveness, at=world.clock.now()
            )
    async with world.database.transaction() as session:
        unexplained = await world.market.offer(session, offer.id)
        assert unexplained.reliability == offer.reliability
        await world.nodes.attribute(
            session, offer.node_id, host_losses=1, away_ms=60_000, incident_id=None, reason="test"
        )
    async with world.database.transaction() as session:
        after = await world.market.offer(session, offer.id)
    assert after.reliability < offer.reliability
    assert after.reliability_low < after.reliability < after.reliability_high
    assert after.hazard_per_hour > offer.hazard_per_hour
    assert after.record.endswith("seen")


async def test_time_online_raises_it_when_the_offer_is_refreshed(world):
    offer = await world.offer(await world.person())
    world.clock.advance(86_400 * 30)
    async with world.database.transaction() as session:
        (node_id,) = await world.market.stale_nodes(session, before=world.clock.now())
        await world.market.refresh(session, node_id)
        assert await world.market.stale_nodes(session, before=world.clock.now()) == []
        assert (await world.market.offer(session, offer.id)).reliability > offer.reliability
