"""The sweep of bookings, with some among them that cannot be ended."""

from dataclasses import replace

from gp4u_server.catalyst.jobs.views import PlacementView
from sqlalchemy import text

from tests.integration.bookings.world import BookingWorld

_POISON = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''poison''; END';
CREATE TRIGGER poison BEFORE UPDATE OF state ON bookings FOR EACH ROW WHEN (OLD.id IN ({})) EXECUTE FUNCTION refuse();
"""


async def left_live(world: BookingWorld, count: int) -> list[PlacementView]:
    """Bookings that a release forgot to end when their placements ended; by their due time, the first first."""
    owner, renter = await world.person("Otto"), await world.renter()
    await world.offer(owner, gpus=count)
    placements = [await world.running(await world.submit(renter)) for _ in range(count)]
    async with world.database.transaction() as session:
        for place, placement in enumerate(placements):
            await session.execute(
                text(
                    "UPDATE placements SET state = 'ended', outcome = 'done', ended_at = clock_timestamp() "
                    "WHERE id = :id"
                ),
                {"id": placement.id},
            )
            await session.execute(
                text(
                    "UPDATE bookings SET check_at = clock_timestamp() - interval '1 hour' + :n * interval '1 s' "
                    "WHERE id = :id"
                ),
                {"id": placement.booking_id, "n": place},
            )
    return placements


async def poison(world: BookingWorld, placements: list[PlacementView]) -> None:
    named = ", ".join(f"'{placement.booking_id}'" for placement in placements)
    async with world.database.transaction() as session:
        for statement in _POISON.format(named).strip().split("\n"):
            await session.execute(text(statement))


async def cure(world: BookingWorld) -> None:
    async with world.database.transaction() as session:
        await session.execute(text("DROP TRIGGER poison ON bookings"))
        await session.execute(text("UPDATE bookings SET check_at = clock_timestamp() - interval '1 s'"))


async def live(world: BookingWorld) -> set[str]:
    async with world.database.transaction() as session:
        return set(await session.scalars(text("SELECT id FROM bookings WHERE state <> 'ended'")))


async def test_h27_poison_message_a_booking_that_cannot_be_ended_stops_no_other(world: BookingWorld) -> None:
    placements = await left_live(world, 3)
    await poison(world, placements[:1])
    await world.sweep.run_once()
    assert await live(world) == {placements[0].booking_id}
    await cure(world)
    await world.sweep.run_once()
    assert await live(world) == set()


async def test_h27_a_whole_batch_of_stuck_bookings_starves_no_later_one(world: BookingWorld) -> None:
    """They are the longest due, and as many as a sweep looks at: the one behind them has its turn all the same."""
    placements = await left_live(world, 4)
    await poison(world, placements[:3])
    sweep = replace(world.sweep, batch=3)
    assert await sweep.run_once() == 3
    assert await sweep.run_once() == 1
    assert await live(world) == {placement.booking_id for placement in placements[:3]}
    assert await sweep.run_once() == 0  # put off, not tried in a circle
    async with world.database.transaction() as session:
        pauses = (
            await session.execute(
                text(
                    "SELECT check_failures, check_at > clock_timestamp() + interval '9 minutes' FROM bookings "
                    "WHERE state <> 'ended'"
                )
            )
        ).all()
    assert [tuple(row) for row in pauses] == [(1, True)] * 3
    await cure(world)
    await sweep.run_once()


async def test_a_running_booking_is_looked_at_once_in_a_while_and_left_alone(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    await world.offer(owner)
    placement = await world.running(await world.submit(renter))
    assert await world.sweep.run_once() == 1
    assert await world.sweep.run_once() == 0
    assert await live(world) == {placement.booking_id}
