"""Readings and events over HTTP: right, bounded, found by an index, and nobody else's business."""

from datetime import datetime, timedelta
from typing import Any

from gp4u_server.catalyst.telemetry.control import PartitionLoop, rollup_loops
from gp4u_server.catalyst.telemetry.repository import SampleRow
from gp4u_server.catalyst.telemetry.retention import Retention
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.catalyst.telemetry.types import DeviceEvent, Severity
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.ids import new_id
from sqlalchemy import text

from tests.integration.contract.test_costs import statements_of
from tests.integration.routing.conftest import Marketplace

OTHERS = 40


async def fill(market: Marketplace, node_id: str, uuid: str) -> datetime:
    """Half an hour of one node's readings among those of others, summed up. Answers the last instant."""
    database, service = market.database, market.platform.get(TelemetryService)
    clock: Clock = market.platform.provided[Clock]
    await PartitionLoop(database, clock, Retention()).run_once()
    now = clock.now()
    rows = []
    for tick in range(180):
        at = now - timedelta(seconds=10 * (180 - tick))
        rows.append(SampleRow(at, node_id, "", (1.0, 1000.0)))
        rows.append(SampleRow(at, node_id, uuid, (float(tick % 100), 10.0, 60.0 + tick % 6)))
        rows += [SampleRow(at, f"node_x{n}", f"GPU-x{n}", (float(n),)) for n in range(OTHERS)]
    async with database.transaction() as session:
        await service.store(session, rows)
    for loop in rollup_loops(database, clock):
        while await loop.run_once():
            pass
    async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("ANALYZE"))
    return now


async def plan_of(market: Marketplace, statements: list[tuple[str, Any]]) -> list[str]:
    """The plans when tables are read whole only for want of an index: an hour's empty partition is read faster whole."""
    lines = []
    async with market.database.engine.connect() as connection:
        await connection.execute(text("SET enable_seqscan = off"))
        for statement, parameters in statements:
            if statement.lstrip().upper().startswith("SELECT"):
                lines += [
                    row[0] for row in await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
                ]
    return lines


async def test_an_owner_reads_how_his_node_feels_and_what_happened_to_it(marketplace: Marketplace) -> None:
    """One marketplace for both, as it takes longer to build than to ask."""
    await readings_are_right_bounded_and_found_by_an_index(marketplace)
    await events_come_page_by_page_and_by_an_index(marketplace)


async def readings_are_right_bounded_and_found_by_an_index(market: Marketplace) -> None:
    offer = await market.offer()
    path = f"/nodes/{offer['node_id']}/telemetry"
    uuid = (await market.ok("GET", f"/nodes/{offer['node_id']}", market.owner))["devices"][0]["uuid"]
    now = await fill(market, offer["node_id"], uuid)

    async def ask(**query: Any) -> Any:
        return await market.ok("GET", path, market.owner, params=query)

    with statements_of(market.database) as statements:
        told = await ask()
    assert (told["resolution"], told["step_s"]) == ("10s", 10)
    node, device = told["series"]
    assert (node["device_uuid"], device["device_uuid"]) == (None, uuid)
    assert len(device["at"]) == 180
    assert device["metrics"]["utilisation_percent"]["mean"] == [float(tick % 100) for tick in range(180)]
    assert device["metrics"]["utilisation_percent"]["unit"] == "%"
    assert "power_w" not in device["metrics"]  # never told

    minutes = await ask(resolution="1m", metrics="temperature_c", device=uuid)
    (series,) = minutes["series"]
    assert list(series["metrics"]) == ["temperature_c"]
    whole = series["metrics"]["temperature_c"]
    assert (whole["low"][5], whole["high"][5], whole["mean"][5]) == (60.0, 65.0, 62.5)
    assert 28 <= len(series["at"]) <= 31
    (alone,) = (await ask(device="node"))["series"]
    assert set(alone["metrics"]) == {"load_1m", "memory_used_mb"}
    wide = await ask(
        **{"from": (now - timedelta(hours=10)).isoformat(), "to": now.isoformat(), "resolution": "10s"}
    )
    assert wide["step_s"] == 60
    assert all(len(each["at"]) <= 601 for each in wide["series"])
    assert (await ask(device="GPU-none"))["series"] == []

    for query, code in (
        ({"metrics": "load_1m,colour"}, "unknown_metric"),
        ({"from": now.isoformat(), "to": (now - timedelta(hours=1)).isoformat()}, "bad_interval"),
        ({"to": "0001-01-01T00:00:00+14:00"}, "bad_interval"),
    ):
        answer = await market.call("GET", path, market.owner, params=query)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    # A renter, even one whose job runs there, is told nothing of the node.
    await market.submit()
    refused = await market.call("GET", path, market.renter)
    assert refused.status_code == 403

    plans = await plan_of(market, statements)
    assert [line for line in plans if "Seq Scan on telemetry_" in line] == []
    assert [line for line in plans if "telemetry_10s_p" in line and "Scan" in line]


async def events_come_page_by_page_and_by_an_index(market: Marketplace) -> None:
    mine, other = [(await market.node())["node_id"] for _ in range(2)]
    service, now = market.platform.get(TelemetryService), market.platform.provided[Clock].now()
    for number in range(230):
        event = DeviceEvent(
            id=new_id("devt"),
            node_id=mine if number % 10 == 0 else other,
            device_uuid="GPU-1",
            kind="xid",
            code=str(number),
            severity=Severity.INFO,
            occurred_at=now,
            received_at=now,
            detail={"sentence": f"Number {number}.", "driver": "x"},
        )
        async with market.database.transaction() as session:
            await service.record(session, [event])
    async with market.database.transaction() as session:
        for column in ("node_id", "received_at"):
            await session.execute(text(f"ALTER TABLE device_events ALTER {column} SET STATISTICS 100"))
        await session.execute(text("ANALYZE device_events"))
        assert len(await service.events_of(session, mine, now, now + timedelta(seconds=1))) == 23
        assert await service.events_of(session, mine, now - timedelta(hours=1), now) == []
    with statements_of(market.database) as statements:
        page = await market.ok("GET", f"/nodes/{mine}/events?limit=20", market.owner)
    assert [item["code"] for item in page["items"]] == [str(n) for n in range(220, 20, -10)]
    assert page["items"][0]["sentence"] == "Number 220."
    assert page["items"][0]["detail"] == {"driver": "x"}
    rest = await market.ok("GET", f"/nodes/{mine}/events?cursor={page['next_cursor']}", market.owner)
    assert [item["code"] for item in rest["items"]] == ["20", "10", "0"]
    lines = await plan_of(market, [each for each in statements if "device_events" in each[0]])
    assert any("ix_device_events_node " in line for line in lines), lines
    assert not any("Sort" in line for line in lines), lines
