"""The sweep of bookings, with one among them that cannot be ended."""

from sqlalchemy import text

from tests.integration.bookings.world import BookingWorld

_POISON = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''poison''; END';
CREATE TRIGGER poison BEFORE UPDATE ON bookings FOR EACH ROW WHEN (OLD.id = '{}') EXECUTE FUNCTION refuse();
"""


async def test_h27_poison_message_a_booking_that_cannot_be_ended_stops_no_other(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    await world.offer(owner, gpus=4)
    placements = [await world.running(await world.submit(renter)) for _ in range(3)]
    # Left live by a release that forgot to tell: the placements are over, the bookings are not.
    async with world.database.transaction() as session:
        for placement in placements:
            await session.execute(
                text(
                    "UPDATE placements SET state = 'ended', outcome = 'done', ended_at = clock_timestamp() "
                    "WHERE id = :id"
                ),
                {"id": placement.id},
            )
            await session.execute(
                text("UPDATE bookings SET starts_at = starts_at - interval '1 hour' WHERE id = :id"),
                {"id": placement.booking_id},
            )
        first = min(placement.booking_id for placement in placements)
        for statement in _POISON.format(first).strip().split("\n"):
            await session.execute(text(statement))
    assert await world.sweep.run_once() == 2
    async with world.database.transaction() as session:
        await session.execute(text("DROP TRIGGER poison ON bookings"))
    assert await world.sweep.run_once() == 1
