"""Transactions of different jobs at once: none waits for another in a circle, none holds another back.

The order of locks stands in docs/architecture.md: jobs, placements, nodes, offers and devices, bookings, meters, accounts.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from gp4u_protocol.messages import ActualState
from gp4u_server.catalyst.failover import control
from gp4u_server.catalyst.failover.control import LimitsLoop
from gp4u_server.catalyst.jobs.types import JobState
from gp4u_server.catalyst.jobs.views import PlacementView
from gp4u_server.kit.db import Database
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.integration.bookings.world import BookingWorld
from tests.integration.catalyst_world import PATIENCE_S, Stage, until

PRICE = 3_600_000_000  # a dollar a second, in micro-units an hour
POISON = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''poison''; END';
CREATE TRIGGER poison BEFORE UPDATE ON bookings FOR EACH ROW WHEN (OLD.id = '{}') EXECUTE FUNCTION refuse();
"""


@pytest.fixture
async def world(database: Database) -> AsyncIterator[BookingWorld]:
    made = BookingWorld(database)
    yield made
    await made.check_invariants()


async def test_the_limits_of_one_job_hold_nothing_that_another_jobs_bill_needs(
    stage: Stage,
    monkeypatch,  # type: ignore[no-untyped-def]
) -> None:
    monkeypatch.setattr(control, "UNCLAIMED_AFTER_S", 0.0)
    gateway = await stage.start_gateway()
    for name in ("alpha", "beta"):
        agent = await stage.node(name)
        agent.auto_claim = False
        await agent.connect(gateway)
    renter = await stage.renter()
    await stage.submit(renter)
    await stage.submit(renter)
    # The loop takes the placements in this order, so the bill is that of the second one's job.
    billed = await stage.scalar("SELECT job_id FROM placements ORDER BY id DESC LIMIT 1")
    async with stage.database.transaction() as bill:
        await stage.jobs.lock_job(bill, billed)
        limits = asyncio.create_task(LimitsLoop(stage.database, stage.jobs).run_once())
        await until("the loop waits for the job", lambda: _waits(stage.database))
        wallet = text("SELECT 1 FROM ledger_accounts WHERE name = :name FOR NO KEY UPDATE")
        await bill.execute(wallet, {"name": f"wallet:{renter}"})
    assert await limits == 2


async def test_a_bill_that_ends_the_money_waits_for_no_node(world: BookingWorld) -> None:
    """A placing holds the node and then takes the wallet; a bill that held the wallet and then took the node, to stop
    the job there, would wait in a circle with it."""
    owner, renter = await world.person("Otto"), await world.renter(200_000_000)
    await world.offer(owner, price=PRICE)
    placement = await world.running(await world.submit(renter))
    await world.backdate(placement, 160)
    async with world.database.transaction() as placing:
        await world.nodes.lock(placing, placement.node_id)
        assert await asyncio.wait_for(world.metering.run_once(), PATIENCE_S) == 1
        await _lock_wallet(placing, renter)
    job = await world.job(placement.job_id)
    assert (job.state, job.stop_reason) == (JobState.RUNNING, "wallet_empty")
    assert await world.stops.run_once() == 1
    assert (await world.job(placement.job_id)).state is JobState.STOPPING
    assert (await world.placement(placement.job_id)).desired == "stop"
    assert await world.stops.run_once() == 0


async def test_the_end_of_a_run_takes_the_node_before_the_wallet(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    await world.offer(owner)
    placement = await world.running(await world.submit(renter))
    async with world.database.transaction() as placing:
        await world.nodes.lock(placing, placement.node_id)
        end = asyncio.create_task(world.report(placement, ActualState.EXITED, exit_code=0))
        await until("the end waits for the node", lambda: _waits(world.database))
        await _lock_wallet(placing, renter)
    await end
    assert (await world.job(placement.job_id)).state is JobState.DONE


async def test_placing_ending_and_billing_of_one_renter_on_one_node_all_at_once(world: BookingWorld) -> None:
    """No interleaving is forced here: whatever happens, the database finds no circle."""
    owner, renter = await world.person("Otto"), await world.renter(10_000_000_000)
    await world.offer(owner, gpus=8, price=PRICE)
    spec = {"budget": {"total_micros_max": 120_000_000}}
    running = [await world.running(await world.submit(renter, **spec)) for _ in range(6)]
    for placement in running:
        await world.backdate(placement, 118)
    waiting = [await world.submit(renter, **spec) for _ in range(4)]
    async with world.database.transaction() as session:
        due = await _now(session)

    async def bill(placement: PlacementView) -> None:
        async with world.database.transaction() as session:
            await world.jobs.lock_job(session, placement.job_id)
            await world.billing.post_due(session, placement.booking_id, due)
        async with world.database.transaction() as session:
            await world.jobs.begin_asked_stop(session, placement.job_id)

    await asyncio.gather(
        *(bill(placement) for placement in running[:4]),
        *(world.report(placement, ActualState.EXITED, exit_code=0) for placement in running[4:]),
        *(world.place(job.id) for job in waiting),
    )
    states = [(await world.job(placement.job_id)).state for placement in running]
    assert states == [JobState.STOPPING] * 4 + [JobState.DONE] * 2
    reasons = {(await world.job(placement.job_id)).stop_reason for placement in running[:4]}
    assert reasons == {"budget_reached"}


async def test_h27_poison_a_lost_job_that_cannot_be_settled_holds_back_no_other_of_its_node(
    world: BookingWorld,
) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    await world.offer(owner, gpus=3, price=100_000)
    lost = [await world.running(await world.submit(renter)) for _ in range(3)]
    await world.offer(owner, gpus=3, price=900_000)
    async with world.database.transaction() as session:
        for statement in POISON.format(lost[0].booking_id).strip().split("\n"):
            await session.execute(text(statement))
    async with world.database.transaction() as session:
        jobs = await world.jobs.record_node_lost(session, lost[0].node_id, 6.0)
    assert jobs == sorted(placement.job_id for placement in lost)
    assert {(await world.job(job_id)).state for job_id in jobs} == {JobState.RECOVERING}
    with capture_logs() as logs:
        await world.placing.run_once()
    assert [(line["event"], line["job_id"]) for line in logs] == [("settling_failed", lost[0].job_id)]
    epochs = {placement.job_id: (await world.placement(placement.job_id)).epoch for placement in lost}
    assert [epochs[placement.job_id] for placement in lost] == [1, 2, 2]
    assert (await world.job(lost[0].job_id)).state is JobState.RECOVERING
    assert await world.placing.run_once() == 0, "put off, not tried in a circle"
    async with world.database.transaction() as session:
        await session.execute(text("DROP TRIGGER poison ON bookings"))
        await session.execute(text("UPDATE placements SET settle_at = now() WHERE settle_at IS NOT NULL"))
    await world.placing.run_once()
    assert (await world.placement(lost[0].job_id)).epoch == 2
    assert (await world.receipt(lost[0].booking_id)).final


async def test_a_lost_run_is_settled_before_the_job_is_placed_again_or_stopped(world: BookingWorld) -> None:
    owner, renter = await world.person("Otto"), await world.renter()
    await world.offer(owner, price=100_000)
    await world.offer(owner, price=900_000)  # it could go there at once
    placement = await world.running(await world.submit(renter))
    await world.backdate(placement, 100)
    async with world.database.transaction() as session:
        await world.jobs.record_node_lost(session, placement.node_id, 6.0)
    await world.place(placement.job_id)
    assert (await world.placement(placement.job_id)).epoch == 1, "its old bill is open"
    async with world.database.transaction() as session:
        await world.jobs.request_stop(session, placement.job_id, "by_renter")
    assert (await world.job(placement.job_id)).state is JobState.STOPPED
    receipt = await world.receipt(placement.booking_id)
    assert receipt.final
    assert receipt.charged_micros == receipt.refunded_micros, "nothing of it was saved"
    async with world.database.transaction() as session:
        assert not await world.jobs.settle_loss(session, placement.job_id)


async def _now(session):  # type: ignore[no-untyped-def]
    return await session.scalar(text("SELECT clock_timestamp()"))


async def _lock_wallet(session, renter: str) -> None:  # type: ignore[no-untyped-def]
    statement = text("SELECT 1 FROM ledger_accounts WHERE name = :name FOR NO KEY UPDATE")
    await session.execute(statement, {"name": f"wallet:{renter}"})


async def _waits(database: Database) -> bool:
    async with database.transaction() as session:
        found = await session.scalar(
            text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        )
    return bool(found)
