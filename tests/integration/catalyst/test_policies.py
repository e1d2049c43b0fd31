"""What a renter asked for when his job's node is lost or taken out of service, with real rows and real bills."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from gp4u_protocol.messages import ActualState
from gp4u_server.catalyst.failover.control import LimitsLoop
from gp4u_server.catalyst.failover.handlers import CapacityHandlers
from gp4u_server.catalyst.failover.moves import MovesLoop
from gp4u_server.catalyst.jobs.types import JobState, Outcome
from gp4u_server.catalyst.jobs.views import JobView, PlacementView
from gp4u_server.kit.db import Database
from gp4u_server.nodes.types import Liveness
from sqlalchemy import text

from tests.checks.ledger import assert_ledger_balances
from tests.integration.bookings.world import BookingWorld


class Market(BookingWorld):
    """Bookings, with what failover hears and does."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        CapacityHandlers(self.jobs).subscribe(self.bus)
        self.moves = MovesLoop(database, self.jobs, self.nodes, self.clock)
        self.limits = LimitsLoop(database, self.jobs)

    async def lose(self, placement: PlacementView) -> None:
        """The node's lease runs out, as health writes it; then the failover loop has its turn."""
        async with self.database.transaction() as session:
            await self.jobs.lock_on_node(session, placement.node_id)
            assert await self.nodes.record_liveness(
                session, placement.node_id, session_no=1, liveness=Liveness.LOST, at=datetime.now(UTC)
            )
            await self.jobs.record_node_lost(session, placement.node_id, 5.0)
        await self.placing.run_once()

    async def titles(self, job: JobView) -> list[str]:
        async with self.database.transaction() as session:
            statement = text("SELECT title FROM job_events WHERE job_id = :id ORDER BY id")
            return list(await session.scalars(statement, {"id": job.id}))


@pytest.fixture
async def market(database: Database) -> AsyncIterator[Market]:
    made = Market(database)
    yield made
    await assert_ledger_balances(database)
    await made.check_invariants()


async def test_stop_ends_the_job_with_its_policy_as_the_reason(market: Market) -> None:
    owner, renter = await market.person("Otto"), await market.renter()
    await market.offer(owner, price=100_000)
    await market.offer(owner, price=900_000)
    job = await market.submit(renter, failover={"on_node_loss": "stop"})
    await market.lose(await market.running(job))
    ended = await market.job(job.id)
    assert (ended.state, ended.reason, ended.epoch) == (JobState.STOPPED, "stop_on_node_loss", 1)
    assert "failover.on_node_loss" in (ended.detail or "")
    assert (await market.titles(job))[-1] == "Stopped, as its policy says"


async def test_wait_goes_on_where_it_was_and_nowhere_else(market: Market) -> None:
    owner, renter = await market.person("Otto"), await market.renter()
    await market.offer(owner, price=100_000)
    await market.offer(owner, price=900_000)
    job = await market.submit(renter, failover={"on_node_loss": "wait"})
    placement = await market.running(job)
    await market.lose(placement)
    waiting = await market.job(job.id)
    assert (waiting.state, waiting.epoch) == (JobState.RECOVERING, 1)
    assert "failover.on_node_loss: wait" in (waiting.detail or "")
    async with market.database.transaction() as session:
        await market.nodes.record_liveness(
            session, placement.node_id, session_no=1, liveness=Liveness.ONLINE, at=datetime.now(UTC)
        )
    await market.place(job.id)
    again = await market.placement(job.id)
    assert (again.node_id, again.epoch) == (placement.node_id, 2)


async def test_moves_are_counted_and_the_loss_after_the_last_one_ends_the_job(market: Market) -> None:
    owner, renter = await market.person("Otto"), await market.renter()
    for price in (100_000, 200_000, 300_000):
        await market.offer(owner, price=price)
    job = await market.submit(renter, failover={"moves_max": 1})
    await market.lose(await market.running(job))
    assert (await market.job(job.id)).epoch == 2
    await market.lose(await market.running(job))
    ended = await market.job(job.id)
    assert (ended.state, ended.reason, ended.epoch) == (JobState.STOPPED, "moves_used_up", 2)


async def test_a_deadline_ends_a_waiting_job_at_once_and_a_running_one_gracefully(market: Market) -> None:
    owner, renter = await market.person("Otto"), await market.renter()
    waiting = await market.submit(renter, failover={"deadline_s": 3600})
    await market.offer(owner)
    running = await market.submit(renter, failover={"deadline_s": 3600})
    other = await market.running(running)
    async with market.database.transaction() as session:
        await session.execute(text("UPDATE jobs SET created_at = created_at - interval '2 hours'"))
    assert await market.limits.run_once() == 2
    ended = await market.job(waiting.id)
    assert (ended.state, ended.reason) == (JobState.STOPPED, "deadline_reached")
    assert (await market.job(running.id)).state is JobState.STOPPING
    await market.report(other, ActualState.STOPPED)
    assert (await market.job(running.id)).reason == "deadline_reached"


async def test_a_job_stuck_in_its_start_for_a_day_is_told_so(market: Market) -> None:
    owner, renter = await market.person("Otto"), await market.renter()
    await market.offer(owner)
    job = await market.submit(renter)
    placement = await market.placement(job.id)
    await market.claim(placement)
    async with market.database.transaction() as session:
        await session.execute(text("UPDATE jobs SET created_at = created_at - interval '25 hours'"))
    assert await market.limits.run_once() == 1
    ended = await market.job(job.id)
    assert (ended.state, ended.reason) == (JobState.FAILED, "never_started")
    assert (await market.titles(job))[-1] == "Never started"
    assert ended.charged_micros == 0
    assert await market.free_gpus(placement.offer_id) == 1


async def test_a_drained_node_lets_its_job_go_with_a_final_checkpoint_and_it_runs_once(
    market: Market,
) -> None:
    owner, renter = await market.person("Otto"), await market.renter()
    await market.offer(owner, price=100_000)
    await market.offer(owner, price=900_000)
    job = await market.submit(renter)
    placement = await market.running(job)
    await market.backdate(placement, 100)
    async with market.database.transaction() as session:
        await market.nodes.drain(session, placement.node_id, owner_id=owner, reason="A new power supply.")
    assert await market.moves.run_once() == 1
    assert await market.moves.run_once() == 0, "told once"
    told = await market.placement(job.id)
    assert (told.desired, told.ended_at) == ("stop", None)
    assert (await market.job(job.id)).state is JobState.RUNNING
    await market.placing.run_once()
    assert (await market.placement(job.id)).epoch == 1, "not placed while its old run may still write"
    async with market.database.transaction() as session:
        await market.jobs.record_checkpoint(
            session, placement.id, 1, checkpoint_id="ckpt_final", seq=1, trigger="final"
        )
    await market.report(told, ActualState.STOPPED, reason="moving")
    assert (await market.placement(job.id)).outcome is Outcome.MOVED
    await market.placing.run_once()
    again = await market.running(await market.job(job.id))
    assert (again.epoch, again.node_id != placement.node_id) == (2, True)
    assert (await market.job(job.id)).restore is not None
    titles = await market.titles(job)
    left = titles.index(f"Moving away from {placement.node_name}")
    assert titles.index(f"Moved to {again.node_name}") > left
    assert (await market.receipt(placement.booking_id)).final


async def test_a_result_that_is_finished_while_the_job_is_told_to_leave_is_kept(market: Market) -> None:
    owner, renter = await market.person("Otto"), await market.renter()
    await market.offer(owner)
    job = await market.submit(renter)
    placement = await market.running(job)
    async with market.database.transaction() as session:
        await market.nodes.drain(session, placement.node_id, owner_id=owner)
    assert await market.moves.run_once() == 1
    await market.report(placement, ActualState.EXITED, exit_code=0)
    assert (await market.job(job.id)).state is JobState.DONE


async def test_a_placement_that_nobody_claimed_leaves_a_draining_node_at_once(market: Market) -> None:
    owner, renter = await market.person("Otto"), await market.renter()
    await market.offer(owner, price=100_000)
    other = await market.offer(owner, price=900_000)
    job = await market.submit(renter)
    placement = await market.placement(job.id)
    async with market.database.transaction() as session:
        await market.nodes.drain(session, placement.node_id, owner_id=owner)
    assert await market.moves.run_once() == 1
    await market.placing.run_once()
    again = await market.placement(job.id)
    assert (again.epoch, again.offer_id) == (2, other.id)


async def test_a_move_that_is_never_confirmed_is_placed_only_when_no_lease_can_be_left(
    market: Market,
) -> None:
    owner, renter = await market.person("Otto"), await market.renter()
    await market.offer(owner, price=100_000)
    await market.offer(owner, price=900_000)
    job = await market.submit(renter)
    placement = await market.running(job)
    async with market.database.transaction() as session:
        await market.nodes.drain(session, placement.node_id, owner_id=owner)
    await market.moves.run_once()
    async with market.database.transaction() as session:
        await session.execute(
            text("UPDATE placements SET stop_requested_at = stop_requested_at - interval '2 minutes'")
        )
    assert await market.limits.run_once() == 1
    await market.placing.run_once()
    waiting = await market.job(job.id)
    assert (waiting.state, waiting.epoch) == (JobState.RECOVERING, 1)
    assert waiting.next_attempt_at is not None
    assert (waiting.next_attempt_at - datetime.now(UTC)).total_seconds() > 30
