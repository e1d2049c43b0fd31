"""What the platform makes of a job that started while files of its checkpoint still arrive."""

from gp4u_protocol.messages import ActualState, Arriving
from gp4u_server.catalyst.jobs.types import JobState, Outcome
from gp4u_server.kit.db import Database
from sqlalchemy import text

from tests.integration.bookings.world import BookingWorld

FIRST = Arriving(files=7, bytes=7_700_000_000, bytes_total=9_800_000_000)
DONE = Arriving(files=0, bytes=0, bytes_total=0)


async def _arriving(market: BookingWorld, job_id: str) -> tuple[list[str], dict[str, object] | None]:
    async with market.database.transaction() as session:
        statement = text("SELECT title FROM job_events WHERE job_id = :id AND kind = 'arriving' ORDER BY id")
        titles = list(await session.scalars(statement, {"id": job_id}))
        row = await session.scalar(
            text("SELECT arriving FROM placements WHERE job_id = :id ORDER BY epoch DESC LIMIT 1"),
            {"id": job_id},
        )
    return titles, row


async def test_the_timeline_says_what_it_started_without_and_when_all_is_there(
    database: Database,
) -> None:
    market = BookingWorld(database)
    owner, renter = await market.person("Otto"), await market.renter()
    await market.offer(owner, price=100_000)
    job = await market.submit(renter, checkpoint={"lazy": ["data/**"]})
    placement = await market.running(job)
    for said in (FIRST, FIRST.model_copy(update={"files": 3})):  # a restarted agent says it once more
        await market.report(placement, ActualState.RUNNING, arriving=said)
    assert (await market.placement(job.id)).arriving, "meanwhile nothing of the job is collected"
    titles, row = await _arriving(market, job.id)
    assert titles == ["Started with 2.1 GB of 9.8 GB restored; 7 files still arriving"]
    assert row is not None
    assert (row["files"], row["done_at"]) == (3, None)
    for _ in range(2):
        await market.report(placement, ActualState.RUNNING, arriving=DONE)
    titles, row = await _arriving(market, job.id)
    assert titles[1:] == ["All files of the checkpoint are there"]
    assert not (await market.placement(job.id)).arriving
    assert row is not None
    assert row["bytes_total"] == FIRST.bytes_total


async def test_a_run_on_a_damaged_checkpoint_goes_on_elsewhere_and_costs_nothing(database: Database) -> None:
    market = BookingWorld(database)
    owner, renter = await market.person("Otto"), await market.renter()
    await market.offer(owner, price=100_000)
    job = await market.submit(renter)
    placement = await market.running(job)
    await market.report(placement, ActualState.RUNNING, arriving=FIRST)
    await market.report(
        placement, ActualState.KILLED, reason="restore_failed", detail="A file could not be read back."
    )
    after = await market.job(job.id)
    assert after.state is JobState.RECOVERING
    async with market.database.transaction() as session:
        ended = (
            await session.execute(
                text("SELECT outcome, reason, checkpoint_at FROM placements WHERE id = :id"),
                {"id": placement.id},
            )
        ).one()
        titles = list(
            await session.scalars(
                text("SELECT title FROM job_events WHERE job_id = :id ORDER BY id"), {"id": job.id}
            )
        )
    assert tuple(ended) == (Outcome.LOST.value, "restore_failed", None)
    assert "A file of the checkpoint is damaged" in titles
    assert after.charged_micros == after.refunded_micros
