"""A gateway's readings on their way to a real PostgreSQL that may be away."""

from datetime import timedelta

import pytest
from gp4u_protocol.telemetry import DeviceSample, NodeSample, Telemetry, XidEvent
from gp4u_server.catalyst.telemetry.control import PartitionLoop
from gp4u_server.catalyst.telemetry.retention import Retention
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.gateway.telemetry_buffer import XID_AGAIN_S, TelemetryBuffer
from gp4u_server.kit.db import Database, connect
from gp4u_server.nodes.types import Duty
from prometheus_client import CollectorRegistry
from sqlalchemy import event, text

from tests.integration.market_world import World

GPU = "GPU-one"
KEEP = Retention(timedelta(days=1), timedelta(days=31), None)


@pytest.fixture
async def world(database: Database) -> World:
    made = World(database)
    await PartitionLoop(database, made.clock, KEEP).run_once()
    return made


def buffer_of(world: World, database: Database | None = None, rows_max: int = 1_000) -> TelemetryBuffer:
    service = TelemetryService(world.bus, world.clock, world.nodes)
    registry = CollectorRegistry()
    return TelemetryBuffer(
        database or world.database, service, world.clock, registry, every_s=10, rows_max=rows_max
    )


def told(buffer: TelemetryBuffer, name: str, **labels: str) -> float:
    return buffer.written._value.get() if name == "written" else buffer.dropped.labels(**labels)._value.get()


def batch(*samples: NodeSample) -> Telemetry:
    return Telemetry(samples=list(samples))


def reading(age_s: float = 0.0, **device: float) -> NodeSample:
    return NodeSample(age_s=age_s, load_1m=1.5, rtt_ms=20, devices=[DeviceSample(uuid=GPU, **device)])


async def column(world: World, statement: str) -> list[object]:
    async with world.database.transaction() as session:
        return list(await session.scalars(text(statement)))


async def node_of(world: World) -> str:
    return (await world.enrol(await world.person())).node_id


async def test_many_readings_are_one_copy_and_no_write_of_their_own(world: World) -> None:
    buffer = buffer_of(world)
    nodes = [await node_of(world) for _ in range(3)]
    statements: list[str] = []
    event.listen(
        world.database.engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _k, statement, *_: statements.append(statement),
    )
    for number in range(20):
        for node_id in nodes:
            buffer.add(node_id, batch(reading(age_s=number / 2, temperature_c=50 + number)))
    assert statements == []
    assert await buffer.flush()
    assert [each for each in statements if each.startswith(("INSERT", "UPDATE"))] == []
    assert await column(world, "SELECT count(*) FROM telemetry_10s") == [3 * 20 * 2]
    assert told(buffer, "written") == 120
    # Positions: temperature is a device's third reading, the round trip a node's seventh.
    assert await column(world, "SELECT max(values[3]) FROM telemetry_10s WHERE device_uuid <> ''") == [69]
    assert await column(world, "SELECT min(values[7]) FROM telemetry_10s WHERE device_uuid = ''") == [20]


async def test_h6_an_agents_clock_moves_no_reading(world: World) -> None:
    buffer, node_id = buffer_of(world), await node_of(world)
    ahead = world.clock.now() + timedelta(days=1)
    buffer.add(node_id, Telemetry(agent_clock=ahead, samples=[reading(age_s=30), reading()]))
    buffer.add(node_id, batch(reading(age_s=3_600)))  # too old to be kept
    assert await buffer.flush()
    instants = await column(world, "SELECT DISTINCT at FROM telemetry_10s ORDER BY at")
    assert instants == [world.clock.now() - timedelta(seconds=30), world.clock.now()]
    assert await column(world, "SELECT max(values[10]) FROM telemetry_10s WHERE device_uuid = ''") == [
        pytest.approx(86_400_000 + 10)
    ]
    assert told(buffer, "dropped", reason="old") == 2


async def test_while_the_database_is_away_the_oldest_go_and_are_counted(
    world: World, database_url: str
) -> None:
    node_id = await node_of(world)
    buffer = buffer_of(world, rows_max=40)
    buffer.add(node_id, batch(reading(age_s=40)))
    assert await buffer.flush()
    gone = buffer._database = connect("postgresql://nobody@127.0.0.1:1/none", pool_size=1)
    for number in range(30):
        buffer.add(node_id, batch(reading(age_s=30.0 - number, temperature_c=float(number))))
    assert not await buffer.flush()  # what was taken for the batch is put back
    buffer.add(node_id, batch(NodeSample(xids=[XidEvent(code=79, uuid=GPU)])))
    assert not await buffer.flush()
    assert told(buffer, "dropped", reason="full") == 30 * 2 + 1 - 40
    buffer._database = world.database  # it is back
    assert await buffer.flush()
    assert await column(world, "SELECT count(*) FROM telemetry_10s") == [2 + 40]
    assert await column(world, "SELECT min(values[3]) FROM telemetry_10s WHERE device_uuid <> ''") == [10]
    assert await column(world, "SELECT code FROM device_events") == ["79"]
    await gone.close()


async def test_no_partition_yet_is_waited_for(database: Database) -> None:
    world = World(database)
    buffer, node_id = buffer_of(world), await node_of(world)
    buffer.add(node_id, batch(reading()))
    assert not await buffer.flush()
    await PartitionLoop(database, world.clock, KEEP).run_once()
    assert await buffer.flush()
    assert await column(world, "SELECT count(*) FROM telemetry_10s") == [2]


async def test_a_critical_event_drains_the_node_once_and_a_jobs_own_error_does_not(world: World) -> None:
    buffer, node_id = buffer_of(world), await node_of(world)

    async def say(code: int, times: int = 1) -> None:
        buffer.add(node_id, batch(*[NodeSample(xids=[XidEvent(code=code, uuid=GPU)])] * times))
        assert await buffer.flush()

    async def duty() -> tuple[Duty, str | None]:
        async with world.database.transaction() as session:
            node = await world.nodes.view(session, node_id)
            return node.duty, node.duty_reason

    buffer.add(node_id, batch(reading()))
    assert await buffer.flush()
    for code in (13, 31, 43, 45):
        await say(code)
    assert await duty() == (Duty.IN_SERVICE, None)
    await say(79, times=500)
    assert await duty() == (Duty.DRAINING, "GPU GPU-one reported XID 79: the GPU has fallen off the bus.")
    assert await column(world, "SELECT code FROM device_events ORDER BY id") == ["13", "31", "43", "45", "79"]
    topics = await column(
        world, "SELECT topic FROM outbox WHERE topic IN ('device.faulted', 'node.drain_requested')"
    )
    assert topics.count("device.faulted") == 5
    assert topics.count("node.drain_requested") == 1
    # Back in service after the repair; the next failure is a new one.
    async with world.database.transaction() as session:
        await world.nodes.undrain(session, node_id, owner_id=None)
    buffer.add(node_id, batch(reading()))
    assert await buffer.flush()
    assert (await duty())[0] is Duty.IN_SERVICE
    world.clock.advance(XID_AGAIN_S + 1)
    await say(48)
    assert (await duty())[0] is Duty.DRAINING


async def test_another_gateway_knows_what_the_first_one_stored(world: World) -> None:
    node_id = await node_of(world)
    first = buffer_of(world)
    first.add(node_id, batch(reading(ecc_uncorrected=3)))
    assert await first.flush()
    second = buffer_of(world)
    second.add(node_id, batch(reading(ecc_uncorrected=3)))
    assert await second.flush()
    assert await column(world, "SELECT count(*) FROM device_events") == [0]
    third = buffer_of(world)
    third.add(node_id, batch(reading(ecc_uncorrected=4)))
    assert await third.flush()
    assert not third._events or await third.flush()
    assert await column(world, "SELECT kind || severity FROM device_events") == ["ecccritical"]
