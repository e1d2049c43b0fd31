"""Nodes out of service: drained, in maintenance, quarantined. Their offers cannot be booked; whoever runs jobs hears of it."""

from typing import Any

import pytest
from gp4u_server.kit.errors import NotFound
from gp4u_server.nodes.duty import QUARANTINE_FIRST
from gp4u_server.nodes.types import Duty, Liveness
from sqlalchemy import text

from tests.integration.market_world import World, facts


@pytest.fixture
async def world(database) -> World:
    return World(database)


async def view(world: World, node_id: str):
    async with world.database.transaction() as session:
        return await world.nodes.view(session, node_id)


async def events(world: World, topic: str) -> list[dict[str, Any]]:
    async with world.database.transaction() as session:
        found = await session.scalars(
            text("SELECT payload FROM outbox WHERE topic = :topic ORDER BY id"), {"topic": topic}
        )
        return list(found)


async def drain(world: World, node_id: str, **options: Any) -> None:
    async with world.database.transaction() as session:
        await world.nodes.drain(session, node_id, owner_id=None, **options)


async def settle(world: World) -> int:
    async with world.database.transaction() as session:
        return await world.nodes.settle_duties(session)


async def ready(world: World, node_id: str) -> bool:
    async with world.database.transaction() as session:
        found: bool = await session.scalar(
            text("SELECT node_ready FROM offers WHERE node_id = :id"), {"id": node_id}
        )
        return found


async def lose(world: World, node_id: str, machine, *, ours: bool = False) -> None:
    session_no = await world.connect(node_id, machine)
    async with world.database.transaction() as session:
        assert await world.nodes.record_liveness(
            session,
            node_id,
            session_no=session_no,
            liveness=Liveness.LOST,
            at=world.clock.now(),
            ours=ours,
        )


async def test_a_drained_node_takes_no_new_jobs_and_asks_for_its_own_to_move(world):
    owner_id = await world.person()
    joined = await world.enrol(owner_id)
    async with world.database.transaction() as session:
        await world.list_node(session, owner_id, joined.node_id)
    async with world.database.transaction() as session:
        taken = await world.nodes.take_devices(session, joined.node_id, model="RTX_4090", gpus=1)
    assert await ready(world, joined.node_id)

    await drain(world, joined.node_id, reason="A new fan.", within_s=600)
    node = await view(world, joined.node_id)
    assert (node.duty, node.duty_reason, node.is_usable) == (Duty.DRAINING, "A new fan.", False)
    assert not await ready(world, joined.node_id)
    (asked,) = await events(world, "node.drain_requested")
    assert (asked["node_id"], asked["reason"]) == (joined.node_id, "A new fan.")
    assert asked["deadline_at"] is not None
    async with world.database.transaction() as session:
        (draining,) = await world.nodes.draining_nodes(session)
    assert (draining.node_id, draining.reason) == (joined.node_id, "A new fan.")

    assert await settle(world) == 0  # a job is still there
    async with world.database.transaction() as session:
        await world.nodes.release_devices(session, joined.node_id, [taken[0].id])
    assert await settle(world) == 1
    assert (await view(world, joined.node_id)).duty is Duty.MAINTENANCE
    async with world.database.transaction() as session:
        assert await world.nodes.draining_nodes(session) == []
    await world.check_invariants()

    async with world.database.transaction() as session:
        await world.nodes.undrain(session, joined.node_id, owner_id=owner_id)
    node = await view(world, joined.node_id)
    assert (node.duty, node.duty_reason, node.is_usable) == (Duty.IN_SERVICE, None, True)
    assert await ready(world, joined.node_id)
    await world.check_invariants()


async def test_a_machine_in_maintenance_may_be_switched_off(world):
    machine = facts()
    joined = await world.enrol(await world.person(), machine)
    await drain(world, joined.node_id)
    assert await settle(world) == 1
    for _ in range(4):
        await lose(world, joined.node_id, machine)
    node = await view(world, joined.node_id)
    assert (node.losses, node.duty) == (0, Duty.MAINTENANCE)


async def test_anothers_node_is_not_there(world):
    joined = await world.enrol(await world.person())
    other = await world.person()
    async with world.database.transaction() as session:
        with pytest.raises(NotFound):
            await world.nodes.drain(session, joined.node_id, owner_id=other)
        with pytest.raises(NotFound):
            await world.nodes.undrain(session, joined.node_id, owner_id=other)


async def test_a_flapping_node_is_quarantined_with_its_reason_until_its_time_is_over(world):
    owner_id, machine = await world.person(), facts()
    joined = await world.enrol(owner_id, machine)
    async with world.database.transaction() as session:
        await world.list_node(session, owner_id, joined.node_id)
    for _ in range(2):
        await lose(world, joined.node_id, machine)
        world.clock.advance(60)
    assert (await view(world, joined.node_id)).duty is Duty.IN_SERVICE
    await lose(world, joined.node_id, machine)
    await world.connect(joined.node_id, machine)
    node = await view(world, joined.node_id)
    assert (node.duty, node.liveness, node.is_usable) == (Duty.QUARANTINED, Liveness.ONLINE, False)
    assert "3 times within an hour" in (node.duty_reason or "")
    assert node.quarantined_until == world.clock.now() + QUARANTINE_FIRST
    assert not await ready(world, joined.node_id)
    (told,) = await events(world, "node.duty_changed")
    assert (told["duty"], told["was"]) == ("quarantined", "in_service")
    assert await settle(world) == 0

    world.clock.advance(QUARANTINE_FIRST.total_seconds())
    assert await settle(world) == 1
    assert (await view(world, joined.node_id)).is_usable
    assert await ready(world, joined.node_id)
    await world.check_invariants()

    for pauses in (2, 4):
        for _ in range(3):
            world.clock.advance(1)
            await lose(world, joined.node_id, machine)
        node = await view(world, joined.node_id)
        assert node.quarantined_until == world.clock.now() + pauses * QUARANTINE_FIRST
        # Its owner has mended it, and says so; what was paid for is not counted again, and the pauses go on doubling.
        async with world.database.transaction() as session:
            await world.nodes.undrain(session, joined.node_id, owner_id=owner_id)
        assert (await view(world, joined.node_id)).duty is Duty.IN_SERVICE


async def test_h23_losses_of_our_making_count_for_nothing(world):
    machine = facts()
    joined = await world.enrol(await world.person(), machine)
    for _ in range(5):
        await lose(world, joined.node_id, machine, ours=True)
    node = await view(world, joined.node_id)
    assert (node.losses, node.duty) == (0, Duty.IN_SERVICE)


async def test_h23_a_gateway_is_unbroken_until_it_was_silent_for_long(world):
    async def since():
        async with world.database.transaction() as session:
            await world.nodes.gateway_seen(session, "gw-1", world.clock.now())
        async with world.database.transaction() as session:
            return await session.scalar(text("SELECT unbroken_since FROM gateways WHERE id = 'gw-1'"))

    began = await since()
    world.clock.advance(4)
    assert await since() == began
    world.clock.advance(6)
    assert await since() == world.clock.now() != began
