"""A poll reads what changed and misses nothing of it, also what was written early and committed late."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gp4u_server.catalyst.health.repository import CHANGED_SINCE
from gp4u_server.gateway.__main__ import hub_of
from gp4u_server.gateway.hub import Hub
from gp4u_server.gateway.poll_cursor import slice_size
from sqlalchemy import event, text

from tests.integration.catalyst_world import Stage, until

GATEWAY = "gw_polled"
NODES = 1_000


async def _fleet(stage: Stage) -> Hub:
    """A gateway, its loops not running, with a thousand idle nodes in its rows and in its memory."""
    await stage.renter()
    async with stage.database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO nodes (id, owner_id, name, region, status, public_key, simulated, facts, cpus, memory_mb,"
                " disk_mb, enrolled_at, gateway_id, session_no, liveness)"
                " SELECT 'node_' || to_char(i, 'FM00000'), u.id, 'n' || i, 'eu', 'verified', decode(lpad(to_hex(i), 64, '0'),"
                " 'hex'), true, '{}', 1, 1024, 1024, now(), CAST(:gateway AS text), 1, 'online'"
                " FROM generate_series(1, :count) i, (SELECT id FROM users LIMIT 1) u"
            ),
            {"gateway": GATEWAY, "count": NODES},
        )
    async with stage.database.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(
            text("ANALYZE nodes")
        )
    hub = hub_of(stage.platform, "test")
    hub.gateway_id = GATEWAY
    async with stage.database.transaction() as session:
        hub.poll.begin(await hub.health.horizon(session))
    for number in range(1, NODES + 1):
        hub.table.opened(_id(number), f"ses_{number}", 1, [], hub.clock.monotonic_s())
    return hub


def _id(number: int) -> str:
    return f"node_{number:05}"


@contextmanager
def _statements(stage: Stage) -> Iterator[list[str]]:
    said: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        said.append(statement)

    event.listen(stage.database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(stage.database.engine.sync_engine, "before_cursor_execute", note)


def _read(hub: Hub, why: str) -> float:
    return float(hub.metrics.rows_polled.labels(why=why)._value.get())


async def _change(stage: Stage, number: int, what: str) -> None:
    async with stage.database.transaction() as session:
        await session.execute(text(f"UPDATE nodes SET {what} WHERE id = :id"), {"id": _id(number)})


@dataclass
class _Wanting:
    """A connection that counts how often it is told to look."""

    node_id: str
    session_id: str = "ses"
    version: int = 0
    asked: int = 0
    closed: int = 0

    def wants_refresh(self) -> None:
        self.asked += 1

    def close(self, code: int, reason: str) -> None:
        self.closed = code

    @property
    def closing(self) -> bool:
        return bool(self.closed)

    def progress(self) -> dict[str, object]:
        return {}


async def test_idle_nodes_cost_a_poll_nothing_and_every_change_is_seen(stage: Stage) -> None:
    hub = await _fleet(stage)
    for _ in range(2):
        with _statements(stage) as said:
            await hub.poll.look(GATEWAY)
        assert len([each for each in said if "nodes" in each]) == 3
    assert _read(hub, "changed") == 0
    assert _read(hub, "slice") <= 2 * 2 * slice_size(NODES)
    async with stage.database.transaction() as session:
        horizon = await hub.health.horizon(session)
        plan = await session.scalar(
            text("EXPLAIN (ANALYZE, FORMAT JSON) " + CHANGED_SINCE), {"since": horizon}
        )
    touched = [step for step in _steps(plan) if step.get("Relation Name") == "nodes"]
    assert [(step["Node Type"], step["Actual Rows"]) for step in touched] == [("Index Scan", 0)], json.dumps(
        plan
    )

    # Behind the slices that were just read: only the changes themselves can tell.
    wanting = _Wanting(_id(990))
    hub.connections[wanting.node_id] = wanting
    moved = _Wanting(_id(10))
    hub.connections[moved.node_id] = moved
    await _change(stage, 990, "desired_version = desired_version + 1")
    await _change(stage, 10, "gateway_id = 'gw_other', session_no = session_no + 1")
    await _change(stage, 20, "status = 'removed'")
    await _change(stage, 500, "disk_mb = disk_mb + 1")
    await hub.poll.look(GATEWAY)
    assert _read(hub, "changed") == 3
    assert wanting.asked == 1
    assert moved.closed == 4001
    assert hub.table.session_no(_id(10)) is None
    assert hub.table.session_no(_id(20)) is None
    # It asks until it was served: the wanted state may have been unreadable.
    await hub.poll.look(GATEWAY)
    assert wanting.asked == 2
    wanting.version = 1
    await hub.poll.look(GATEWAY)
    assert (wanting.asked, hub.poll._cursor.unsettled) == (2, 0)


def _steps(plan: object) -> Iterator[dict[str, object]]:
    if isinstance(plan, list):
        for each in plan:
            yield from _steps(each)
    elif isinstance(plan, dict):
        if "Node Type" in plan:
            yield plan
        for each in plan.values():
            yield from _steps(each)


async def test_h2_a_change_that_was_written_early_and_committed_late_is_seen(stage: Stage) -> None:
    hub = await _fleet(stage)
    early, late = _Wanting(_id(700)), _Wanting(_id(800))
    hub.connections.update({early.node_id: early, late.node_id: late})
    await hub.poll.look(GATEWAY)
    async with stage.database.transaction() as slow:
        await slow.execute(text("UPDATE nodes SET desired_version = 1 WHERE id = :id"), {"id": late.node_id})
        await _change(stage, 700, "desired_version = 1")
        await hub.poll.look(GATEWAY)
        assert (early.asked, late.asked) == (1, 0)
        early.version = 1
        await hub.poll.look(GATEWAY)
    numbers = {
        number: await stage.scalar("SELECT changed_in FROM nodes WHERE id = :id", id=_id(number))
        for number in (700, 800)
    }
    assert numbers[800] < numbers[700], "its number is smaller than one that was seen before"
    await hub.poll.look(GATEWAY)
    assert late.asked == 1
    late.version = 1
    await hub.poll.look(GATEWAY)

    async def nothing_more() -> bool:
        before = _read(hub, "changed")
        await hub.poll.look(GATEWAY)
        return _read(hub, "changed") == before

    await until("nothing is in progress, so nothing is read twice", nothing_more)
