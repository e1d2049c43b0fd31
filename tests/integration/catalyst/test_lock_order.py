"""Transactions of different jobs at once: none may wait for another in a circle."""

import asyncio

from gp4u_server.catalyst.failover import control
from gp4u_server.catalyst.failover.control import LimitsLoop
from sqlalchemy import text

from tests.integration.catalyst_world import Stage, until


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
        await until("the loop waits for the job", lambda: _waits(stage))
        wallet = text("SELECT 1 FROM ledger_accounts WHERE name = :name FOR NO KEY UPDATE")
        await bill.execute(wallet, {"name": f"wallet:{renter}"})
    assert await limits == 2


async def _waits(stage: Stage) -> bool:
    return bool(await stage.scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
