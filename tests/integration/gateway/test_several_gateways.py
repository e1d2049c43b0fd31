"""Several gateways, several controllers: an agent may be anywhere, and what one of them does is done once."""

import asyncio
from dataclasses import replace

from gp4u_server.bootstrap import build
from gp4u_server.catalyst.health.authority import AuthorityWatch, takeover_after_s
from gp4u_server.catalyst.health.control import DeadGatewayLoop
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
    hands = ManualClock()
    others = [build(stage.platform.settings, process="test") for _ in range(2)]
    loops = []
    for platform in (stage.platform, *others):
        loop = next(loop for loop in control_loops(platform) if isinstance(loop, DeadGatewayLoop))
        loops.append(replace(loop, clock=hands, watch=AuthorityWatch(ttl_s=TTL_S)))
    try:
        for _ in range(int(takeover_after_s(15.0)) + 3):
            await asyncio.gather(*(loop.run_once() for loop in loops))
            hands.monotonic += 1.0
    finally:
        for platform in others:
            await platform.close()
    assert await stage.scalar("SELECT count(*) FROM nodes WHERE liveness = 'lost'") == 3
    assert await stage.scalar("SELECT count(*) FROM node_losses") == 3
    assert (await _liveness(stage)).count("lost") == 3
    for job_id in jobs:
        assert (await stage.kinds(job_id)).count("node_lost") == 1
        assert (await stage.job(job_id)).state.value == "recovering"


async def _liveness(stage: Stage) -> list[str]:
    async with stage.database.transaction() as session:
        found = await session.scalars(
            text("SELECT payload->>'liveness' FROM outbox WHERE payload ? 'liveness' ORDER BY id")
        )
        return list(found)
