"""Liveness: the newest session alone writes, changes are announced, and the record of losses adds up."""

import asyncio

import pytest
from gp4u_server.nodes.types import Liveness
from sqlalchemy import text

from tests.integration.market_world import World, facts


@pytest.fixture
async def world(database) -> World:
    return World(database)


async def record(world: World, node_id: str, session_no: int, liveness: Liveness) -> bool:
    async with world.database.transaction() as session:
        return await world.nodes.record_liveness(
            session, node_id, session_no=session_no, liveness=liveness, at=world.clock.now()
        )


async def view(world: World, node_id: str):
    async with world.database.transaction() as session:
        return await world.nodes.view(session, node_id)


async def announced(world: World) -> list[tuple[str, str]]:
    async with world.database.transaction() as session:
        rows = await session.execute(
            text(
                "SELECT payload->>'was', payload->>'liveness' FROM outbox WHERE topic = 'node.liveness_changed' ORDER BY id"
            )
        )
        return [(was, now_is) for was, now_is in rows]


async def test_an_older_session_writes_nothing(world):
    machine = facts()
    joined = await world.enrol(await world.person(), machine)
    assert await world.connect(joined.node_id, machine) == 2
    assert not await record(world, joined.node_id, 1, Liveness.LOST)
    assert (await view(world, joined.node_id)).liveness is Liveness.ONLINE
    assert await record(world, joined.node_id, 2, Liveness.LOST)
    assert (await view(world, joined.node_id)).liveness is Liveness.LOST


async def test_sessions_opened_at_once_get_numbers_of_their_own(world):
    machine = facts()
    joined = await world.enrol(await world.person(), machine, online=False)
    numbers = await asyncio.gather(*(world.connect(joined.node_id, machine) for _ in range(10)))
    assert sorted(numbers) == list(range(1, 11))


async def test_only_changes_are_announced(world):
    joined = await world.enrol(await world.person())
    for liveness in (Liveness.ONLINE, Liveness.SUSPECT, Liveness.SUSPECT, Liveness.ONLINE, Liveness.LOST):
        assert await record(world, joined.node_id, 1, liveness)
    assert await announced(world) == [
        ("offline", "online"),
        ("online", "suspect"),
        ("suspect", "online"),
        ("online", "lost"),
    ]


async def test_time_online_and_losses_make_the_record(world):
    machine = facts()
    joined = await world.enrol(await world.person(), machine)
    world.clock.advance(100)
    await record(world, joined.node_id, 1, Liveness.SUSPECT)
    world.clock.advance(5)
    await record(world, joined.node_id, 1, Liveness.LOST)
    world.clock.advance(1000)
    node = await view(world, joined.node_id)
    assert (node.losses, node.online_s) == (1, 105.0)
    await world.connect(joined.node_id, machine)
    world.clock.advance(50)
    node = await view(world, joined.node_id)
    assert (node.losses, node.online_s) == (1, 155.0)
    async with world.database.transaction() as session:
        assert await world.nodes.record_left(session, joined.node_id, session_no=2, at=world.clock.now())
    node = await view(world, joined.node_id)
    assert (node.losses, node.online_s, node.liveness) == (1, 155.0, Liveness.OFFLINE)


async def test_a_gateway_finds_the_nodes_it_held(world):
    owner_id = await world.person()
    first, second = await world.enrol(owner_id), await world.enrol(owner_id)
    await record(world, second.node_id, 1, Liveness.LOST)
    async with world.database.transaction() as session:
        held = await world.nodes.nodes_of_gateway(session, "gw-1")
        assert [(node.node_id, node.session_no) for node in held] == [(first.node_id, 1)]
        assert await world.nodes.nodes_of_gateway(session, "gw-2") == []


async def test_nodes_of_a_silent_gateway_are_orphans(world):
    joined = await world.enrol(await world.person())
    async with world.database.transaction() as session:
        await world.nodes.gateway_seen(session, "gw-1", world.clock.now())
    silent_since = world.clock.now()
    async with world.database.transaction() as session:
        assert await world.nodes.orphans(session, silent_since=silent_since) == []
    world.clock.advance(10)
    async with world.database.transaction() as session:
        (orphan,) = await world.nodes.orphans(session, silent_since=world.clock.now())
        assert orphan.node_id == joined.node_id
        await world.nodes.gateway_seen(session, "gw-1", world.clock.now())
        assert await world.nodes.orphans(session, silent_since=world.clock.now()) == []


async def test_the_desired_version_only_grows(world):
    joined = await world.enrol(await world.person())

    async def bump() -> int:
        async with world.database.transaction() as session:
            return await world.nodes.bump_desired(session, joined.node_id)

    assert sorted(await asyncio.gather(*(bump() for _ in range(10)))) == list(range(1, 11))
    async with world.database.transaction() as session:
        assert await world.nodes.desired_version(session, joined.node_id) == 10


async def test_a_card_that_vanished_is_not_offered_any_more(world):
    owner_id = await world.person()
    joined = await world.enrol(owner_id, facts(hostname="rig", gpus=2))
    async with world.database.transaction() as session:
        offer = await world.list_node(session, owner_id, joined.node_id)
    assert (offer.gpus_total, offer.gpus_free) == (2, 2)
    await world.connect(joined.node_id, facts(hostname="rig", gpus=1))
    async with world.database.transaction() as session:
        offer = await world.market.offer(session, offer.id)
    assert (offer.gpus_total, offer.gpus_free) == (1, 1)
    await world.check_invariants()


async def test_time_lost_makes_the_uptime_and_time_off_duty_does_not(world):
    machine = facts()
    joined = await world.enrol(await world.person(), machine)
    world.clock.advance(900)
    await record(world, joined.node_id, 1, Liveness.LOST)
    world.clock.advance(100)
    node = await view(world, joined.node_id)
    assert (node.online_s, node.down_s) == (900.0, 100.0)
    await world.connect(joined.node_id, machine)
    world.clock.advance(50)
    node = await view(world, joined.node_id)
    assert (node.online_s, node.down_s) == (950.0, 100.0)
    await record(world, joined.node_id, 2, Liveness.LOST)
    world.clock.advance(10)
    async with world.database.transaction() as session:
        await world.nodes.drain(session, joined.node_id, owner_id=None)
    world.clock.advance(5000)
    node = await view(world, joined.node_id)
    assert (node.online_s, node.down_s) == (950.0, 110.0)
