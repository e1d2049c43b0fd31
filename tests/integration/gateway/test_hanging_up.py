"""An agent that vanishes while its message is being written: the write ends, nothing is held, the loss is written."""

from gp4u_protocol.messages import ActualState
from sqlalchemy import text

from tests.integration.catalyst_world import Stage, until


async def test_h23_a_report_is_written_although_its_agent_hung_up(stage: Stage) -> None:
    gateway = await stage.start_gateway()
    agent = await stage.node("alpha")
    await agent.connect(gateway)
    job_id = await stage.submit(await stage.renter())
    spec = await agent.only_placement()
    await stage.until_state(job_id, "running")
    connection = gateway.hub.connections[agent.node_id]

    async with stage.database.transaction() as holder:
        await holder.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await holder.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
        await agent.report(spec.placement_id, spec.epoch, ActualState.EXITED, exit_code=0)
        await until("the report waits for the job", lambda: _waiters(stage))
        await agent.crash()
    job = await stage.until_state(job_id, "done")
    assert job.placements_count == 1

    async def detached() -> bool:
        return gateway.hub.connections.get(agent.node_id) is not connection

    await until("the connection is gone", detached)
    assert not await _waiters(stage)


async def _waiters(stage: Stage) -> int:
    found: int = await stage.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return found
