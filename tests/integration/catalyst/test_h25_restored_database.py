"""H25: a database that was put back from a backup, noticed by the controller whoever forgot to say so; a real store."""

from pathlib import Path

import pytest
from gp4u_server.adapters.objectstore import FolderObjectStore
from gp4u_server.bookings.capacity import BookingCapacity
from gp4u_server.catalyst.checkpoints.ports import StoreUnavailable
from gp4u_server.catalyst.failover.control import PlacingLoop
from gp4u_server.catalyst.jobs.views import JobView
from gp4u_server.catalyst.routing.service import Router
from gp4u_server.foundation import incarnation
from gp4u_server.foundation.incarnation import STRIDE, FoundBy
from gp4u_server.foundation.incarnation_watch import IncarnationWatch
from gp4u_server.kit.db import Database
from sqlalchemy import text

from tests.integration.catalyst.test_leaving import Town


class Restored(Town):
    """A town whose database forgets."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database)
        self.store = FolderObjectStore.open(folder, b"k" * 32)

    def controller(self) -> tuple[IncarnationWatch, PlacingLoop]:
        """One that has just started."""
        watch = IncarnationWatch(self.database, self.store)
        router = Router(self.market, self.jobs, BookingCapacity(self.market, self.billing), self.clock)
        return watch, PlacingLoop(self.database, self.jobs, router, gate=watch)

    async def backup(self) -> tuple[int, int]:
        async with self.database.transaction() as session:
            mark = await incarnation.current(session)
        return mark.restores, mark.mark

    async def put_back(self, backup: tuple[int, int], job: JobView) -> None:
        """What the database knows of the job and of itself is what the backup knows: the job waits for its second run."""
        async with self.database.transaction() as session:
            await session.execute(
                text("UPDATE incarnation SET restores = :restores, mark = :mark"),
                {"restores": backup[0], "mark": backup[1]},
            )
            await session.execute(
                text(
                    "UPDATE jobs SET state = 'recovering', next_attempt_at = clock_timestamp(), epoch = 1 WHERE id = :id"
                ),
                {"id": job.id},
            )

    async def lose(self, job: JobView) -> None:
        """Its node is lost, and what that means is settled."""
        placement = await self.placement(job.id)
        async with self.database.transaction() as session:
            await self.jobs.record_node_lost(session, placement.node_id, 6.0)
        async with self.database.transaction() as session:
            await self.jobs.settle_loss(session, job.id)


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Restored:
    return Restored(database, tmp_path / "store")


async def test_h25_no_epoch_is_given_out_twice_though_nobody_says_that_a_backup_was_put_back(
    town: Restored,
) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    for _ in range(2):
        await town.machine(owner)
    running, placing = town.controller()
    await running.run_once()
    job = await town.submit(renter)
    first = await town.running(job)
    assert first.epoch == 1
    backup = await town.backup()
    await running.run_once()
    # Whatever happens now, the backup does not know.
    await town.put_back(backup, job)
    async with town.database.transaction() as session:
        await session.execute(
            text(
                "UPDATE placements SET state = 'ended', outcome = 'lost', ended_at = clock_timestamp() WHERE job_id = :id"
            ),
            {"id": job.id},
        )
    # A controller that went on running remembers, one that has just begun has not asked yet: neither places.
    _, beginner = town.controller()
    for loop in (placing, beginner):
        assert await loop.run_once() == 0
    assert (await town.job(job.id)).epoch == 1

    watch, loop = town.controller()
    await watch.run_once()
    assert await loop.run_once() == 1
    assert (await town.placement(job.id)).epoch == STRIDE + 1, "above all that was forgotten"
    async with town.database.transaction() as session:
        found = await session.scalar(text("SELECT found_by FROM incarnation"))
    assert found == FoundBy.STORE
    await running.run_once()
    assert await town.backup() > (1, 0), "noticed once, not once a controller"
    assert (await town.backup())[0] == 1


async def test_h25_a_store_that_is_away_holds_up_only_who_has_not_compared_yet(town: Restored) -> None:
    owner, renter = await town.person("Otto"), await town.renter()
    watch, _ = town.controller()
    await watch.run_once()
    offer = await town.machine(owner)
    job = await town.submit(renter)
    await town.running(job)

    class Away:
        async def read(self, key: str, *, bytes_max: int) -> bytes | None:
            raise StoreUnavailable("away")

        async def overwrite(self, key: str, content: bytes) -> None:
            raise StoreUnavailable("away")

    beginner = IncarnationWatch(town.database, Away())
    watch.store = Away()
    for each in (beginner, watch):
        await each.run_once()
    async with town.database.transaction() as session:
        assert not await beginner.may_place(session)
        assert await watch.may_place(session)
    # Its memory alone is enough, too.
    backup = await town.backup()
    watch.store = town.store
    await watch.run_once()
    await town.put_back(backup, job)
    async with town.database.transaction() as session:
        assert not await watch.may_place(session)
    assert offer is not None
    async with town.database.transaction() as session:  # and the operator may say it himself
        said = await incarnation.restored(session, FoundBy.OPERATOR)
    assert said.epoch_base == STRIDE
