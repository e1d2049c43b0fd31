"""The database's word on a gateway's nodes against its own. Lost messages, lost writes and lost nodes come out here."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import structlog

from gp4u_server.catalyst.health.decisions import HeldRow
from gp4u_server.catalyst.health.lease_table import Change, LeaseTable
from gp4u_server.catalyst.health.repository import NodeSight
from gp4u_server.catalyst.health.service import HealthService
from gp4u_server.gateway.change_writing import ChangeWriter
from gp4u_server.gateway.decisions import AbsentNodes, PollVerdict, UnwrittenLosses, judge_poll, rebuilt
from gp4u_server.gateway.metrics import GatewayMetrics
from gp4u_server.gateway.poll_cursor import PollCursor, slice_size
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database

log = structlog.get_logger(__name__)

POLL_S = 2.0
COMPARED_AT_ONCE = 500
"""Then the heartbeats have their turn: a whole fleet may have changed."""


class Wanting(Protocol):
    """A connection, as the poll needs it."""

    version: int

    def wants_refresh(self) -> None:
        """Read the node's wanted state again and send it."""
        ...


class Poll:
    """Reads what changed and compares it. What it finds goes to `superseded` and `write_change`."""

    def __init__(
        self,
        *,
        database: Database,
        health: HealthService,
        clock: Clock,
        metrics: GatewayMetrics,
        table: LeaseTable,
        connections: Mapping[str, Wanting],
        goodbyes: Mapping[str, int],
        writer: ChangeWriter,
        losses: UnwrittenLosses,
        superseded: Callable[[str, int], None],
        write_change: Callable[[Change], None],
        say_goodbye: Callable[[str, int], Awaitable[None]],
    ) -> None:
        self._database = database
        self._health = health
        self._clock = clock
        self._metrics = metrics
        self._table = table
        self._connections = connections
        self._goodbyes = goodbyes
        self._writer = writer
        self._losses = losses
        self._superseded = superseded
        self._write_change = write_change
        self._say_goodbye = say_goodbye
        self._cursor = PollCursor()
        self._absent = AbsentNodes(table.ttl_s)
        # Node → the newest of its sessions that must not be opened any more: its loss was declared without us holding it.
        self._barred: dict[str, int] = {}
        self._opened: set[str] = set()  # since the read that is under way began
        self._soon = asyncio.Event()

    def begin(self, horizon: int) -> None:
        """The gateway begins a life; no row named it at `horizon`."""
        self._cursor.begin(horizon)

    def opened(self, node_id: str) -> None:
        """A session was opened. Whatever is being read may be from before it."""
        self._opened.add(node_id)
        self._cursor.look_again(node_id)

    def look_again(self, node_id: str) -> None:
        """Row and memory of this node may differ."""
        self._cursor.look_again(node_id)

    def soon(self) -> None:
        """Notifications may have been missed: look now."""
        self._soon.set()

    def may_open(self, node_id: str, session_no: int) -> bool:
        """Whether a session that was just written may be served: not when it was declared lost in the meantime."""
        return session_no > self._barred.get(node_id, -1)

    async def pause(self) -> None:
        """Until the next look is due."""
        try:
            async with asyncio.timeout(POLL_S):
                await self._soon.wait()
        except TimeoutError:
            pass
        self._soon.clear()

    async def look(self, gateway_id: str) -> None:
        """One look; raises what the database raises."""
        count = len(self._table.nodes)
        by_id = self._cursor.by_id(lambda: self._table.nodes, count)
        limit = slice_size(count)
        self._writer.written.clear()
        self._opened.clear()
        async with self._database.transaction() as session:
            changes = await self._health.changed_since(session, self._cursor.since or 0)
            alive = await self._health.alive_after(session, gateway_id, self._cursor.alive_after, limit)
            asked = await self._health.rows_of(session, by_id)
        self._metrics.rows_polled.labels(why="changed").inc(len(changes.rows))
        self._metrics.rows_polled.labels(why="slice").inc(len(alive) + len(asked))
        self._cursor.changes_read(changes.horizon)
        self._cursor.alive_read(list(alive), limit)
        # All of one snapshot or of later ones: whichever is the newest of a node, the cursor brings what came after it.
        seen: dict[str, NodeSight | None] = {**dict.fromkeys(by_id), **changes.rows, **alive, **asked}
        await self._compare(gateway_id, seen)
        for node_id, session_no in list(self._goodbyes.items()):
            await self._say_goodbye(node_id, session_no)

    async def _compare(self, gateway_id: str, seen: Mapping[str, NodeSight | None]) -> None:
        held = {
            node_id: None if sight is None else sight.held_by(gateway_id) for node_id, sight in seen.items()
        }
        waiting = iter(held.items())
        while batch := list(itertools.islice(waiting, COMPARED_AT_ONCE)):
            now = self._clock.monotonic_s()
            for node_id, row in batch:
                if self._table.session_no(node_id) is None or self._agrees(node_id, row, now):
                    self._cursor.settled(node_id)
                else:
                    self._cursor.look_again(node_id)
            await asyncio.sleep(0)
        self._judge_absent({node_id: row for node_id, row in held.items() if row is not None}, held.keys())

    def _agrees(self, node_id: str, row: HeldRow | None, now: float) -> bool:
        """Compare one node that is held; act where row and memory differ."""
        session_no = self._table.session_no(node_id)
        connection = self._connections.get(node_id)
        pair = (row.session_no, row.desired_version) if row else None
        asked_no = None if node_id in self._opened else session_no
        verdict = judge_poll(asked_no, session_no, pair, connection.version if connection else None)
        if verdict is PollVerdict.SUPERSEDED and session_no is not None:
            self._superseded(node_id, session_no)
            return True
        if verdict is PollVerdict.REFRESH and connection is not None:
            connection.wants_refresh()
        state = self._table.state(node_id)
        if (
            row is None
            or state is None
            or session_no != row.session_no
            or self._writer.has_work(node_id)
            or node_id in self._writer.written  # after we read its row, perhaps
        ):
            return False
        owed = self._losses.owed(node_id, row.session_no, now)
        changes = rebuilt(owed, node_id, state, self._table.silent_s(node_id, now), row)
        for change in changes:
            self._metrics.rebuilt.inc()
            log.warning("change_rebuilt", node_id=node_id, state=change.state, was=row.liveness)
            self._write_change(change)
        return not changes and verdict is PollVerdict.NOTHING and asked_no is not None

    def _judge_absent(self, rows: Mapping[str, HeldRow], read: Iterable[str]) -> None:
        now = self._clock.monotonic_s()
        # Of the rows just read; the whole table has too many names.
        known = {node_id for node_id in rows if self._table.session_no(node_id) is not None}
        known.update(self._goodbyes)
        for change in self._absent.observe(rows, known, now, read=set(read)):
            self._barred[change.node_id] = max(change.session_no, self._barred.get(change.node_id, -1))
            if not self._writer.has_work(change.node_id):
                log.warning("absent_node_lost", node_id=change.node_id, session_no=change.session_no)
                self._write_change(change)
        for node_id in self._absent.watched:
            self._cursor.look_again(node_id)
