"""Jobs that wait for capacity: nodes that failed them are forgiven, and whatever frees GPUs wakes them."""

import asyncio
from datetime import UTC, datetime

import pytest
from gp4u_protocol.messages import ActualState, Report
from gp4u_server.catalyst.failover.control import CapacityLoop, PlacingLoop
from gp4u_server.catalyst.jobs.views import PlacementView
from gp4u_server.catalyst.routing.service import Router
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import Liveness
from sqlalchemy import text

from tests.integration.catalyst_world import Agent, Stage, until


class Room:
    """A stage whose gateway and controller are played step by step."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.nodes = stage.platform.get(NodeService)
        self.placing = PlacingLoop(stage.database, stage.jobs, stage.platform.get(Router))
        self.capacity = CapacityLoop(stage.database, stage.jobs, self.nodes)
        self.sessions: dict[str, int] = {}

    async def online(self, agent: Agent) -> None:
        async with self.stage.database.transaction() as session:
            self.sessions[agent.node_id] = await self.nodes.record_connected(
                session, agent.node_id, gateway_id="gw", facts=agent.machine, now=datetime.now(UTC)
            )

    async def node(self, name: str, **terms: int) -> Agent:
        agent = await self.stage.node(name, **terms)
        await self.online(agent)
        return agent

    async def lose(self, agent: Agent) -> None:
        async with self.stage.database.transaction() as session:
            await self.stage.jobs.lock_on_node(session, agent.node_id)
            assert await self.nodes.record_liveness(
                session,
                agent.node_id,
                session_no=self.sessions[agent.node_id],
                liveness=Liveness.LOST,
                at=datetime.now(UTC),
            )
            await self.stage.jobs.record_node_lost(session, agent.node_id, 5.0)

    async def placement(self, job_id: str) -> PlacementView:
        async with self.stage.database.transaction() as session:
            found = await self.stage.jobs.newest_placement(session, job_id)
        assert found is not None
        return found

    async def run(self, job_id: str, state: ActualState = ActualState.RUNNING) -> PlacementView:
        """Claim the job's newest placement and report `state`."""
        placement = await self.placement(job_id)
        async with self.stage.database.transaction() as session:
            if placement.claimed_at is None:
                await self.stage.jobs.record_claim(session, placement.node_id, placement.id, placement.epoch)
            seq = 1 if state is ActualState.RUNNING else 9
            report = Report(
                seq=seq, placement_id=placement.id, epoch=placement.epoch, state=state, exit_code=0
            )
            await self.stage.jobs.record_report(session, placement.node_id, report)
        return placement

    async def waiting(self, **spec: object) -> str:
        """A job that found nothing and sleeps for seconds."""
        job_id = await self.stage.submit(await self.stage.renter(), **spec)
        for _ in range(4):
            async with self.stage.database.transaction() as session:
                result = await self.stage.platform.get(Router).place(session, job_id)
            assert not result.placed
        assert not await self.is_due(job_id)
        return job_id

    async def is_due(self, job_id: str) -> bool:
        return bool(
            await self.stage.scalar(
                "SELECT next_attempt_at <= clock_timestamp() FROM jobs WHERE id = :id", id=job_id
            )
        )


@pytest.fixture
async def room(stage: Stage) -> Room:
    return Room(stage)


async def test_a_job_that_lost_every_node_there_is_goes_on_at_once_where_one_is_back(room: Room) -> None:
    agents = {agent.node_id: agent for agent in [await room.node(f"n{number}") for number in range(3)]}
    job_id = await room.stage.submit(await room.stage.renter())
    was = None
    for kill in range(7):
        placement = await room.run(job_id)
        assert placement.node_id != was, "another node fits, so the one that just failed is not taken"
        was = placement.node_id
        await room.lose(agents[was])
        await room.placing.run_once()
        assert (await room.placement(job_id)).epoch == placement.epoch + 1, (
            f"kill {kill} was not moved at once"
        )
        await room.online(agents[was])


async def test_the_only_node_is_taken_again_when_it_is_back_and_not_before(room: Room) -> None:
    alpha = await room.node("alpha")
    job_id = await room.stage.submit(await room.stage.renter())
    before = await room.run(job_id)
    await room.lose(alpha)
    await room.placing.run_once()
    assert (await room.placement(job_id)).epoch == before.epoch
    assert (await room.stage.job(job_id)).state.value == "recovering"
    await room.capacity.run_once()  # the signal of the placement's own end: the node is lost, nobody is woken
    assert not await room.is_due(job_id)
    await room.online(alpha)
    assert await room.capacity.run_once() == 1
    await room.placing.run_once()
    assert (await room.placement(job_id)).epoch == before.epoch + 1


async def test_a_run_that_ends_wakes_who_waits_for_its_gpu(room: Room) -> None:
    await room.node("alpha")
    first = await room.stage.submit(await room.stage.renter())
    await room.run(first)
    second = await room.waiting()
    await room.capacity.run_once()
    assert not await room.is_due(second), "nothing came free yet"
    await room.run(first, ActualState.EXITED)
    assert await room.capacity.run_once() == 1
    await room.placing.run_once()
    assert (await room.placement(second)).node_name == "alpha"


async def test_capacity_wakes_neither_who_needs_more_nor_who_pauses_after_a_failed_start(room: Room) -> None:
    too_much = await room.waiting(resources={"gpus": 8})
    elsewhere = await room.waiting(resources={"regions": ["us-east"]})
    pausing = await room.waiting()
    async with room.stage.database.transaction() as session:
        await session.execute(
            text("UPDATE jobs SET attempts = 0, start_failures = 2 WHERE id = :id"), {"id": pausing}
        )
    fits = await room.waiting(resources={"regions": ["EU-West"]})
    await room.node("alpha")
    assert await room.capacity.run_once() == 1
    due = [await room.is_due(job_id) for job_id in (too_much, elsewhere, pausing, fits)]
    assert due == [False, False, False, True]


async def test_capacity_that_comes_while_a_job_is_being_placed_is_not_missed(room: Room) -> None:
    """The try that is under way has looked already; its transaction ends with a pause, and the signal ends that."""
    job_id = await room.waiting()
    async with room.stage.database.transaction() as placing:
        await room.stage.platform.get(Router).place(placing, job_id)
        await room.node("alpha")
        waking = asyncio.create_task(room.capacity.run_once())
        await until("the loop waits for the job", lambda: _waits(room.stage))
    assert await waking == 1
    assert await room.is_due(job_id)


async def test_no_signal_is_lost_when_the_loop_that_took_it_fails(room: Room) -> None:
    await room.waiting()
    await room.node("alpha")
    async with room.stage.database.transaction() as session:
        await session.execute(text("ALTER TABLE jobs RENAME COLUMN attempts TO mislaid"))
    with pytest.raises(Exception, match="attempts"):
        await room.capacity.run_once()
    async with room.stage.database.transaction() as session:
        await session.execute(text("ALTER TABLE jobs RENAME COLUMN mislaid TO attempts"))
    assert await room.capacity.run_once() == 1


async def _waits(stage: Stage) -> bool:
    return bool(await stage.scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
