"""A GPU that shows signs of failing loses its jobs before it dies, and everybody concerned is told why."""

from typing import Any

from gp4u_protocol.messages import ActualState, Report
from gp4u_protocol.telemetry import DeviceSample, NodeSample, Telemetry, XidEvent
from gp4u_server.catalyst.failover.moves import MovesLoop
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.routing.service import Router
from gp4u_server.catalyst.telemetry.control import PartitionLoop
from gp4u_server.catalyst.telemetry.retention import Retention
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.gateway.telemetry_buffer import TelemetryBuffer
from gp4u_server.kit.clock import Clock
from gp4u_server.nodes.service import NodeService
from prometheus_client import CollectorRegistry

from tests.integration.routing.conftest import Marketplace


async def report(
    market: Marketplace, placed: dict[str, Any], state: ActualState, seq: int, **told: Any
) -> None:
    async with market.database.transaction() as session:
        said = Report(seq=seq, placement_id=placed["id"], epoch=placed["epoch"], state=state, **told)
        ack = await market.platform.get(JobService).record_report(session, placed["node_id"], said)
        assert not ack.stale


async def test_a_failing_gpu_loses_its_jobs_before_it_dies(marketplace: Marketplace) -> None:
    market, platform = marketplace, marketplace.platform
    jobs, nodes = platform.get(JobService), platform.get(NodeService)
    clock: Clock = platform.provided[Clock]
    await PartitionLoop(market.database, clock, Retention()).run_once()
    failing = await market.offer(price=300_000)
    job = await market.submit()
    placed = job["placement"]
    assert placed["node_id"] == failing["node_id"]
    async with market.database.transaction() as session:
        await jobs.record_claim(session, placed["node_id"], placed["id"], placed["epoch"])
    await report(market, placed, ActualState.RUNNING, 1)
    spare = await market.offer(price=900_000)

    gateway = TelemetryBuffer(
        market.database, platform.get(TelemetryService), clock, CollectorRegistry(), every_s=10
    )
    moves = MovesLoop(market.database, jobs, nodes, clock)
    shown = await market.ok("GET", f"/nodes/{failing['node_id']}", market.owner)
    uuid = shown["devices"][0]["uuid"]
    # An error of the job's own moves nothing.
    own = NodeSample(devices=[DeviceSample(uuid=uuid)], xids=[XidEvent(code=31, uuid=uuid)])
    gateway.add(failing["node_id"], Telemetry(samples=[own]))
    assert await gateway.flush()
    assert await moves.run_once() == 0

    fallen = NodeSample(xids=[XidEvent(code=79, uuid=uuid, detail="GPU has fallen off the bus.")])
    gateway.add(failing["node_id"], Telemetry(samples=[fallen]))
    assert await gateway.flush()
    assert await moves.run_once() == 1

    # Its owner sees it on the node, and in the node's events.
    node = await market.ok("GET", f"/nodes/{failing['node_id']}", market.owner)
    why = f"GPU {uuid[:12]} reported XID 79: the GPU has fallen off the bus."
    assert (node["state"], node["duty_reason"]) == ("draining", why)
    events = (await market.ok("GET", f"/nodes/{failing['node_id']}/events", market.owner))["items"]
    assert [(item["code"], item["severity"]) for item in events] == [("79", "critical"), ("31", "info")]

    # The job is told to take its final checkpoint, ends there, and goes on elsewhere at the next epoch.
    async with market.database.transaction() as session:
        (live,) = await jobs.live_on_node(session, failing["node_id"])
    assert (live.spec.desired, live.spec.stop_reason) == ("stop", "moving")
    await report(market, placed, ActualState.STOPPED, 2, reason="moving", saved=True)
    async with market.database.transaction() as session:
        await platform.get(Router).place(session, job["id"])
    moved = (await market.ok("GET", f"/jobs/{job['id']}", market.renter))["placement"]
    assert (moved["node_id"], moved["epoch"]) == (spare["node_id"], placed["epoch"] + 1)

    # Its renter reads why in the timeline.
    timeline = await market.ok("GET", f"/jobs/{job['id']}/events", market.renter)
    (moving,) = [entry for entry in timeline if entry["kind"] == "moving"]
    assert moving["detail"]["sentence"] == why
    assert [entry for entry in timeline if entry["kind"] == "node_lost"] == []

    # After the repair the owner puts it back, and what was told before does not drain it again.
    async with market.database.transaction() as session:
        await nodes.settle_duties(session)
    back = await market.ok("POST", f"/nodes/{failing['node_id']}/undrain", market.owner)
    assert (back["state"], back["duty_reason"]) == ("online", None)
    gateway.add(failing["node_id"], Telemetry(samples=[NodeSample(devices=[DeviceSample(uuid=uuid)])]))
    assert await gateway.flush()
    assert (await market.ok("GET", f"/nodes/{failing['node_id']}", market.owner))["state"] == "online"
