"""Many nodes that connect at once: written together where nothing else is to be decided, alone otherwise."""

import asyncio

from gp4u_server.gateway.opening import ALONE_AT_ONCE
from sqlalchemy import text

from tests.integration.catalyst_world import Gateway, Stage, until

NODES = 12


def _opened(gateway: Gateway, how: str) -> int:
    return int(gateway.hub.metrics.opened.labels(how=how)._value.get())


async def test_h23_a_fleet_that_comes_back_at_once_is_let_in_together_and_runs_on(stage: Stage) -> None:
    first = await stage.start_gateway()
    agents = [await stage.node(f"node-{number}") for number in range(NODES)]
    await asyncio.gather(*(agent.connect(first) for agent in agents))
    job_id = await stage.submit(await stage.renter())
    await stage.until_state(job_id, "running")
    numbers = {agent.node_id: first.hub.table.session_no(agent.node_id) for agent in agents}
    await first.kill()
    for agent in agents:
        await agent.crash()
    second = await stage.start_gateway()
    await asyncio.gather(*(agent.connect(second) for agent in agents))
    together = _opened(second, "together")
    assert together + _opened(second, "alone") == NODES
    assert together >= NODES - ALONE_AT_ONCE, "only whom somebody held is written alone"
    for agent in agents:
        assert second.hub.table.session_no(agent.node_id) == (numbers[agent.node_id] or 0) + 1
    rows = await stage.scalar(
        "SELECT count(*) FROM nodes WHERE gateway_id = :id AND liveness = 'online' AND online_since IS NOT NULL",
        id=second.hub.gateway_id,
    )
    assert rows == NODES
    job = await stage.job(job_id)
    assert (job.state.value, job.placements_count) == ("running", 1)


async def test_whoever_brings_a_failed_gpu_or_is_held_by_somebody_is_written_alone(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    failed, held, plain = [await stage.node(name) for name in ("alpha", "beta", "gamma")]
    for agent in (failed, held, plain):
        await agent.connect(gateway)
        await agent.crash()
    before = _opened(gateway, "together"), _opened(gateway, "alone")
    async with stage.database.transaction() as session:
        await session.execute(
            text("UPDATE devices SET faulted_at = now(), fault_reason = 'test' WHERE node_id = :id"),
            {"id": failed.node_id},
        )
    async with stage.database.transaction() as session:
        await session.execute(text("SELECT 1 FROM nodes WHERE id = :id FOR UPDATE"), {"id": held.node_id})
        waiting = asyncio.create_task(held.connect(gateway))
        await failed.connect(gateway)
        await plain.connect(gateway)
        assert not waiting.done()
    await until("the one that was held is served, too", lambda: _is_done(waiting))
    assert (_opened(gateway, "together") - before[0], _opened(gateway, "alone") - before[1]) == (1, 2)
    # Its probation began: nothing that a connection alone decides was left out.
    probation = await stage.scalar(
        "SELECT probation_until IS NOT NULL FROM devices WHERE node_id = :id", id=failed.node_id
    )
    assert probation


async def _is_done(task: "asyncio.Task[None]") -> bool:
    return task.done()
