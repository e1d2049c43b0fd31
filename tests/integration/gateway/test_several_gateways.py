"""Several gateways, several controllers: an agent may be anywhere, and what one of them does is done once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from gp4u_server.bootstrap import build
from gp4u_server.catalyst.health.authority import AuthorityWatch, takeover_after_s
from gp4u_server.catalyst.health.control import DeadGatewayLoop
from gp4u_server.catalyst.health.service import HealthService
from gp4u_server.catalyst.health.takeover import QUIET_S, Departures
from gp4u_server.controller.loops import control_loops
from gp4u_server.gateway.leaving import GOING_CODE, leave
from gp4u_server.kit.clock import ManualClock
from sqlalchemy import text

from tests.integration.catalyst_world import TTL_S, Stage, until


async def test_what_is_wanted_of_a_node_reaches_it_through_whichever_gateway_has_it(stage: Stage) -> None:
    gateways = [await stage.start_gateway() for _ in range(3)]
    agents = [await stage.node(name) for name in ("alpha", "beta", "gamma")]
    for agent, gateway in zip(agents, gateways, strict=True):
        await agent.connect(gateway)
    renter = await stage.renter()
    jobs = [await stage.submit(renter) for _ in agents]
    specs = [await agent.only_placement() for agent in agents]
    assert {spec.job_id for spec in specs} == {*jobs}
    async with stage.database.transaction() as session:
        await stage.jobs.request_stop(session, specs[2].job_id, "by_renter")

    async def told() -> bool:
        return agents[2].desired is not None and any(
            spec.desired.value == "stop" for spec in agents[2].desired.placements
        )

    await until("the stop reached the third gateway's node", told)


async def test_h23_a_gateway_that_is_told_to_end_sends_its_agents_on_and_nobody_is_suspect(
    stage: Stage,
) -> None:
    first = await stage.start_gateway()
    second = await stage.start_gateway()
    agents = [await stage.node(name) for name in ("alpha", "beta")]
    for agent in agents:
        await agent.connect(first)
    job_id = await stage.submit(await stage.renter())
    await stage.until_state(job_id, "running")

    assert await leave(first.hub) == 2
    assert not first.hub.ready, "a proxy asks another one"
    for agent in agents:
        await asyncio.wait_for(agent._socket.wait_closed(), 20)
        assert agent._socket.close_code == GOING_CODE
        await agent.crash()
        await agent.connect(second)
    gone = [change for change in await _liveness(stage) if change not in ("online", "offline")]
    assert gone == []
    job = await stage.job(job_id)
    assert (job.state.value, job.placements_count) == ("running", 1)


async def test_h23_a_dead_gateways_nodes_are_taken_over_once_whoever_looks(stage: Stage) -> None:
    """Three controllers see it at the same time; one of them ends the row, and each node is lost once."""
    gateway = await stage.start_gateway()
    agents = [await stage.node(name) for name in ("alpha", "beta", "gamma")]
    for agent in agents:
        await agent.connect(gateway)
    renter = await stage.renter()
    jobs = [await stage.submit(renter) for _ in agents]
    for job_id in jobs:
        await stage.until_state(job_id, "running")
    await gateway.kill()  # and the nodes with it
    for agent in agents:
        await agent.crash()
    async with _controllers(stage, 3) as look:
        await _live_on(stage, "elsewhere")
        for _ in range(int(takeover_after_s(15.0)) + 3):
            await look()
    assert await stage.scalar("SELECT count(*) FROM nodes WHERE liveness = 'lost'") == 3
    assert await stage.scalar("SELECT count(*) FROM node_losses") == 3
    assert (await _liveness(stage)).count("lost") == 3
    for job_id in jobs:
        assert (await stage.kinds(job_id)).count("node_lost") == 1
        assert (await stage.job(job_id)).state.value == "recovering"


async def test_h23_nodes_that_queue_at_another_gateway_are_not_lost_and_whoever_never_comes_is(
    stage: Stage,
) -> None:
    """Five nodes behind a gateway that died: four find another one, the last of them long after the takeover."""
    gateway = await stage.start_gateway()
    agents = [await stage.node(f"node-{number}") for number in range(5)]
    for agent in agents:
        await agent.connect(gateway)
    renter = await stage.renter()
    jobs = [await stage.submit(renter) for _ in agents]
    for job_id in jobs:
        await stage.until_state(job_id, "running")
    homes = {await stage.scalar(ON, job=job_id): job_id for job_id in jobs}
    await gateway.kill()
    for agent in agents:
        await agent.crash()
    second = await stage.start_gateway()
    gone = agents[0]
    async with _controllers(stage, 2) as look:
        for late in agents[1:]:
            for _ in range(7):
                await look()
            assert await _lost(stage) == []
            await late.connect(second)
        ended = "SELECT count(*) FROM gateway_authorities WHERE gateway_id = :id AND ended_at IS NOT NULL"
        assert await stage.scalar(ended, id=gateway.hub.gateway_id) == 1, "it was taken over all the while"
        for _ in range(int(QUIET_S) + 2):
            await look()
    assert await _lost(stage) == [gone.node_id]
    for agent in agents[1:]:
        job = await stage.job(homes[agent.node_id])
        assert (job.state.value, job.placements_count) == ("running", 1)
    assert (await stage.job(homes[gone.node_id])).state.value == "recovering"
    # No second for which it was held back is charged.
    counted = "SELECT p.last_beat_at < g.ended_at FROM jobs p, gateway_authorities g WHERE p.id = :job AND g.gateway_id = :id"
    assert await stage.scalar(counted, job=homes[gone.node_id], id=gateway.hub.gateway_id)


ON = "SELECT node_id FROM placements WHERE job_id = :job"


@asynccontextmanager
async def _controllers(stage: Stage, count: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The same watch in several controllers; each call is a look of all of them, a second after the one before."""
    hands = ManualClock()
    others = [build(stage.platform.settings, process="test") for _ in range(count - 1)]
    loops = []
    for platform in (stage.platform, *others):
        loop = next(loop for loop in control_loops(platform) if isinstance(loop, DeadGatewayLoop))
        loops.append(replace(loop, clock=hands, watch=AuthorityWatch(ttl_s=TTL_S), departures=Departures()))

    async def look() -> None:
        await _renew_living(stage)
        await asyncio.gather(*(loop.run_once() for loop in loops))
        hands.monotonic += 1.0

    try:
        yield look
    finally:
        for platform in others:
            await platform.close()


async def _live_on(stage: Stage, gateway_id: str) -> None:
    """A gateway that has no nodes."""
    async with stage.database.transaction() as session:
        await stage.platform.get(HealthService).begin_authority(session, gateway_id, "ws://elsewhere")


async def _renew_living(stage: Stage) -> None:
    """The controllers' seconds pass faster than a gateway's: renew for all that were not killed."""
    killed = [gateway.hub.gateway_id for gateway in stage.gateways if gateway.loops.done()]
    async with stage.database.transaction() as session:
        rows = await stage.platform.get(HealthService).standing_authorities(session)
        for gateway_id in sorted(rows.keys() - {*killed}):
            await stage.platform.get(HealthService).renew_authority(session, gateway_id)


async def _lost(stage: Stage) -> list[str]:
    async with stage.database.transaction() as session:
        return list(await session.scalars(text("SELECT id FROM nodes WHERE liveness = 'lost'")))


async def _liveness(stage: Stage) -> list[str]:
    async with stage.database.transaction() as session:
        found = await session.scalars(
            text("SELECT payload->>'liveness' FROM outbox WHERE payload ? 'liveness' ORDER BY id")
        )
        return list(found)
