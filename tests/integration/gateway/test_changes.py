"""Changes of liveness that cannot be written, or never were: nobody else waits for them, and none is lost."""

from typing import Any

from gp4u_protocol.lease import replace_after_s
from gp4u_server.catalyst.health.lease_table import Change, NodeState
from sqlalchemy import text

from tests.integration.catalyst_world import TTL_S, Agent, Gateway, Stage, until


async def _liveness(stage: Stage, agent: Agent) -> str:
    found: str = await stage.scalar("SELECT liveness FROM nodes WHERE id = :id", id=agent.node_id)
    return found


async def _is_written(stage: Stage, agent: Agent, liveness: str) -> bool:
    return await _liveness(stage, agent) == liveness


async def _refuse_writes(stage: Stage, agent: Agent, *, refuse: bool) -> None:
    """The database refuses every write to this node's row, as a bug of ours would have it."""
    async with stage.database.transaction() as session:
        if not refuse:
            await session.execute(text("ALTER TABLE nodes DROP CONSTRAINT poisoned"))
            return
        await session.execute(
            text(
                f"ALTER TABLE nodes ADD CONSTRAINT poisoned CHECK (id <> '{agent.node_id}' OR losses < 0) NOT VALID"
            )
        )


def _count(gateway: Gateway, metric: str) -> float:
    return sum(
        sample.value
        for family in getattr(gateway.hub.metrics, metric).collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


async def _at_least(value: Any, least: float) -> bool:
    return bool(value >= least)


async def test_h23_a_poisoned_change_keeps_nobody_waiting_and_is_rebuilt(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agents = [await stage.node(f"node-{number}") for number in range(9)]  # more than there are writers
    poisoned, others = agents[0], agents[1:]
    for agent in agents:
        await agent.connect(gateway)
    await _refuse_writes(stage, poisoned, refuse=True)
    poisoned.beating = False
    await until("given up", lambda: _at_least(_count(gateway, "given_up"), 1))
    for agent in others:
        gateway.hub.write_change(
            Change(
                agent.node_id,
                gateway.hub.table.session_no(agent.node_id) or 0,
                NodeState.SUSPECT,
                0.1,
                NodeState.ONLINE,
            )
        )
    await until("others are written", lambda: _changed(gateway, len(others)))
    for agent in others:
        # The agent beats on, so it was untrue, and is found to be.
        await until("and rebuilt from the table", lambda agent=agent: _is_written(stage, agent, "online"))
    assert await _liveness(stage, poisoned) == "online"
    await _refuse_writes(stage, poisoned, refuse=False)
    await until("its loss is written after all", lambda: _is_written(stage, poisoned, "lost"))
    assert await stage.scalar("SELECT losses FROM nodes WHERE id = :id", id=poisoned.node_id) == 1


async def _changed(gateway: Gateway, least: int) -> bool:
    return _count(gateway, "changes") >= least


async def test_h2_a_node_that_the_database_calls_ours_and_nobody_knows_is_lost(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    number = gateway.hub.table.session_no(agent.node_id)
    assert number is not None
    await agent.crash()
    gateway.hub.table.forget(agent.node_id, number)  # as when its change was dropped
    forgotten_at = gateway.hub.clock.monotonic_s()
    await until("lost", lambda: _is_written(stage, agent, "lost"))
    assert gateway.hub.clock.monotonic_s() - forgotten_at >= replace_after_s(TTL_S)
    # A handshake of that session that only now comes to its end is not served.
    assert not gateway.hub.poll.may_open(agent.node_id, number)
    await agent.connect(gateway)
    await until("back", lambda: _is_written(stage, agent, "online"))


async def test_a_goodbye_that_the_database_missed_is_written_later(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    await _refuse_writes(stage, agent, refuse=True)
    await agent.leave()
    await until("the goodbye waits", lambda: _at_least(len(gateway.hub._goodbyes), 1))
    await _refuse_writes(stage, agent, refuse=False)
    await until("offline", lambda: _is_written(stage, agent, "offline"))
    assert await stage.scalar("SELECT losses FROM nodes WHERE id = :id", id=agent.node_id) == 0
