"""Three controllers at once: what is due is decided, settled and told once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from gp4u_server.bootstrap import build
from gp4u_server.catalyst.failover.control import PlacingLoop
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.routing.service import Router
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.db import Database
from sqlalchemy.ext.asyncio import AsyncSession

from tests.checks.ledger import assert_ledger_balances
from tests.integration.catalyst_world import Stage, until


@pytest.fixture
async def controllers(stage: Stage) -> AsyncIterator[list[Platform]]:
    """Three platforms with pools of their own, as three processes have."""
    others = [build(stage.platform.settings, process="test") for _ in range(2)]
    yield [stage.platform, *others]
    for platform in others:
        await platform.close()


class Counting:
    """A router that remembers what it was asked."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.asked: list[str] = []

    async def place(self, session: AsyncSession, job_id: str) -> object:
        self.asked.append(job_id)
        return await self._router.place(session, job_id)


async def test_a_job_that_waits_is_decided_by_one_controller_and_not_again_before_its_pause_is_over(
    stage: Stage, controllers: list[Platform]
) -> None:
    job_id = await stage.submit(await stage.renter())  # no node there is
    await stage.scalar("UPDATE jobs SET next_attempt_at = now() - interval '1 s' RETURNING id")
    before = await stage.scalar("SELECT attempts FROM jobs")
    placers = [Counting(platform.get(Router)) for platform in controllers]
    loops = [
        PlacingLoop(platform.get(Database), platform.get(JobService), placer)
        for platform, placer in zip(controllers, placers, strict=True)
    ]
    # The first one has read that the job is due; the second one decides; then the first one goes on.
    async with stage.database.transaction() as session:
        assert await controllers[0].get(JobService).due_for_placing(session) == [job_id]
    assert await loops[1].run_once() == 1
    await loops[0]._place(job_id)
    await asyncio.gather(*(loop.run_once() for loop in loops))
    assert [len(placer.asked) for placer in placers] == [0, 1, 0]
    assert await stage.scalar("SELECT attempts FROM jobs") == before + 1
    assert (await stage.kinds(job_id)).count("waiting") == 1


async def test_h4_h16_a_lost_nodes_jobs_go_on_once_each_with_three_controllers(
    stage: Stage, controllers: list[Platform]
) -> None:
    gateway = await stage.start_gateway()
    dying = [await stage.node(name) for name in ("alpha", "beta")]  # fewer than a mass loss
    for agent in dying:
        await agent.connect(gateway)
    renter = await stage.renter()
    jobs = [await stage.submit(renter) for _ in dying]
    for job_id in jobs:
        await stage.until_state(job_id, "running")
    for name in ("delta", "epsilon", "zeta"):
        await (await stage.node(name)).connect(gateway)
    stage.start_controller()
    for _ in range(2):
        stage.start_controller()
    for agent in dying:
        await agent.crash()
    for job_id in jobs:

        async def moved(job_id: str = job_id) -> bool:
            job = await stage.job(job_id)
            return job.state.value == "running" and job.placements_count == 2

        await until("the job runs elsewhere", moved)
        kinds = await stage.kinds(job_id)
        assert kinds.count("node_lost") == 1
        assert kinds.count("failed_over") == 1
    assert await stage.scalar("SELECT count(*) FROM placements") == 4
    assert await stage.scalar("SELECT count(*) FROM bookings WHERE ended_at IS NULL") == 2
    await assert_ledger_balances(stage.database)
