"""What an agent says of itself arrives through a real gateway, and a loss and a return through it make an incident."""

from pathlib import Path

from gp4u_protocol.messages import AgentLife
from gp4u_server.catalyst.incidents.control import IncidentLoop
from gp4u_server.catalyst.incidents.reading import IncidentReader
from gp4u_server.catalyst.incidents.service import IncidentService
from gp4u_server.catalyst.incidents.types import Cause
from gp4u_server.nodes.service import NodeService
from sqlalchemy import text

from tests.integration.catalyst_world import stage_on, until


async def test_a_crash_and_a_return_through_the_gateway(
    database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    async with stage_on(database_url, valkey_url, tmp_path) as stage:
        gateway = await stage.start_gateway()
        agent = await stage.node("alpha")
        agent.life = AgentLife(boot_id="b", run_id="r1", last_run="none")
        await agent.connect(gateway)
        await agent.crash()

        async def lost() -> object:
            return await stage.scalar("SELECT id FROM incidents WHERE node_id = :id", id=agent.node_id)

        await until("an incident", lost)
        agent.life = AgentLife(boot_id="b", run_id="r2", last_run="crashed")
        await agent.connect(gateway)
        async with stage.database.transaction() as session:
            await session.execute(text("UPDATE incidents SET due_at = clock_timestamp()"))
        nodes, incidents = stage.platform.get(NodeService), stage.platform.get(IncidentService)
        await IncidentLoop(stage.database, incidents, nodes).run_once()
        async with stage.database.transaction() as session:
            (incident,) = await IncidentReader().page(session, agent.node_id, before_id=None, limit=9)
            view = await nodes.view(session, agent.node_id)
        assert (incident.cause, incident.sub_class) == (Cause.HOST_SOFTWARE, "agent_crashed")
        assert "socket_closed" in {each.code for each in incident.evidence}
        assert view.host_losses == 1
