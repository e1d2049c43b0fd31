"""The heart of a gateway: the lease table, the loops that drive it, and who is connected."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol
from zlib import crc32

import structlog
from gp4u_protocol.messages import Progress

from gp4u_server.catalyst.health.authority import AUTHORITY_RENEW_S, authority_until
from gp4u_server.catalyst.health.lease_table import Change, LeaseTable, NodeState
from gp4u_server.catalyst.health.service import HealthService
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.transitions import NODE_DESIRED_CHANNEL
from gp4u_server.foundation.listening import notifications
from gp4u_server.foundation.streams import Streams
from gp4u_server.gateway.decisions import PollVerdict, UnwrittenLosses, aged, judge_poll, still_true
from gp4u_server.gateway.metrics import GatewayMetrics
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.tokens import AgentTokens

log = structlog.get_logger(__name__)

TICK_S = 0.1
POLL_S = 2.0
CHANGE_WRITERS = 8
CHANGES_QUEUED_MAX = 10_000
WRITE_RETRY_S = (0.1, 0.25, 0.5, 1.0, 2.0)
PUBLISH_QUEUED_MAX = 2_000


class Connected(Protocol):
    """One agent's connection, as the hub needs it."""

    node_id: str
    session_id: str
    version: int

    def wants_refresh(self) -> None:
        """Read the node's wanted state again and send it."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        ...

    def progress(self) -> dict[str, Progress]:
        """The last progress heard of each placement."""
        ...


class Hub:
    """One per gateway process. `run` drives it until it is cancelled."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: NodeService,
        jobs: JobService,
        health: HealthService,
        tokens: AgentTokens,
        streams: Streams,
        clock: Clock,
        heartbeat_interval_s: float,
        lease_ttl_s: float,
        address: str = "",
        authority_database: Database | None = None,
    ) -> None:
        self.database = database
        # Agents' messages may use every connection of the pool for long; the right to renew leases must not wait there.
        self._authority_database = authority_database or database
        self.nodes = nodes
        self.jobs = jobs
        self.health = health
        self.tokens = tokens
        self.streams = streams
        self.clock = clock
        self.heartbeat_interval_s = heartbeat_interval_s
        self.lease_ttl_s = lease_ttl_s
        self.address = address
        self.gateway_id = ""
        self.table = LeaseTable(heartbeat_interval_s, lease_ttl_s)
        self.metrics = GatewayMetrics()
        self.connections: dict[str, Connected] = {}
        # Each with the instant from which its `silent_s` counts on until it is written.
        self._changes: list[asyncio.Queue[tuple[Change, float]]] = [
            asyncio.Queue(CHANGES_QUEUED_MAX) for _ in range(CHANGE_WRITERS)
        ]
        self._losses_unwritten = UnwrittenLosses()
        self._publishes: asyncio.Queue[Callable[[], Awaitable[object]]] = asyncio.Queue(PUBLISH_QUEUED_MAX)
        # Of nodes whose socket is gone already, until their loss is written.
        self._last_progress: dict[str, dict[str, Progress]] = {}

    @property
    def ready(self) -> bool:
        """Whether agents are served."""
        return bool(self.gateway_id) and self.table.has_authority(self.clock.monotonic_s())

    async def run(self) -> None:
        """All loops; ends only by an error of ours or cancellation."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._authority_loop())
            group.create_task(self._tick_loop())
            group.create_task(self._listen_loop())
            group.create_task(self._poll_loop())
            for queue in self._changes:
                group.create_task(self._write_loop(queue))
            group.create_task(self._publish_loop())

    # --- connections -------------------------------------------------------------------------------------

    def attach(self, connection: Connected) -> None:
        """A connection is welcomed; an older one of the same node goes."""
        before = self.connections.get(connection.node_id)
        self.connections[connection.node_id] = connection
        if before is not None and before is not connection:
            before.close(4001, "superseded by a newer connection")

    def detach(self, connection: Connected) -> None:
        """The socket is gone. Its leases run on in the table until they run out or the node is back."""
        if self.connections.get(connection.node_id) is connection:
            del self.connections[connection.node_id]
            if self.table.state(connection.node_id) is not None:
                self._last_progress[connection.node_id] = connection.progress()

    def write_change(self, change: Change) -> None:
        """Queue a change for its node's writer; changes of one node are written in order."""
        queue = self._changes[crc32(change.node_id.encode()) % CHANGE_WRITERS]
        self._losses_unwritten.declared(change)
        try:
            queue.put_nowait((change, self.clock.monotonic_s()))
        except asyncio.QueueFull:
            # Ten thousand unwritten changes: the database has been away for long. Forgetting the node is safe: its
            # row still names us, and the controller takes it over when we are gone for good.
            log.error("changes_overflow", node_id=change.node_id, state=change.state)
            self.metrics.dropped.labels(kind="change").inc()

    def claim_received(self, node_id: str, session_id: str) -> bool:
        """A claim came in; whether it may be passed on to the database (see `UnwrittenLosses`)."""
        number = self.table.session_no(node_id)
        received = self.table.claim_received(node_id, session_id, self.clock.monotonic_s())
        return received and not self._losses_unwritten.bars(node_id, number)

    def publish(self, action: Callable[[], Awaitable[object]]) -> None:
        """Do something with Valkey soon; dropped when too much waits."""
        try:
            self._publishes.put_nowait(action)
        except asyncio.QueueFull:
            self.metrics.dropped.labels(kind="publish").inc()

    # --- loops -------------------------------------------------------------------------------------------

    async def _authority_loop(self) -> None:
        while True:
            began = self.clock.monotonic_s()
            try:
                async with asyncio.timeout(AUTHORITY_RENEW_S * 2):
                    await self._renew_authority(began)
            except Exception as error:
                self.metrics.write_failures.inc()
                log.warning("authority_not_renewed", error=str(error))
                await asyncio.sleep(0.25)
                continue
            await asyncio.sleep(AUTHORITY_RENEW_S)

    async def _renew_authority(self, began: float) -> None:
        if self.gateway_id:
            async with self._authority_database.transaction() as session:
                renewed = await self.health.renew_authority(session, self.gateway_id)
            if not renewed:
                log.error("authority_taken_over", gateway_id=self.gateway_id)
                self._begin_anew()
        if not self.gateway_id:
            fresh = new_id("gw")
            async with self._authority_database.transaction() as session:
                await self.health.begin_authority(session, fresh, self.address)
            self.gateway_id = fresh
            log.info("authority_begun", gateway_id=fresh)
        lapsed = self.table.lapse(self.clock.monotonic_s())
        self.table.authority_renewed(authority_until(began))
        for change in lapsed:
            self.write_change(change)

    def _begin_anew(self) -> None:
        self.gateway_id = ""
        self.table.revoke_all()
        for connection in list(self.connections.values()):
            connection.close(1012, "the gateway begins anew")
        self.connections.clear()

    async def _tick_loop(self) -> None:
        due = self.clock.monotonic_s()
        held_back = False
        while True:
            now = self.clock.monotonic_s()
            self.metrics.tick_lag.observe(max(0.0, now - due))
            for change in self.table.tick(now):
                log.info("node_" + change.state, node_id=change.node_id, silent_s=round(change.silent_s, 3))
                self.write_change(change)
            if self.table.holds_back != held_back:
                held_back = self.table.holds_back
                log.warning("mass_loss_held_back" if held_back else "mass_loss_released")
            due = now + TICK_S
            await asyncio.sleep(TICK_S)

    async def _listen_loop(self) -> None:
        async for _, node_id in notifications(self.database, [NODE_DESIRED_CHANNEL]):
            for connection in [self.connections.get(node_id)] if node_id else list(self.connections.values()):
                if connection is not None:
                    connection.wants_refresh()

    async def _poll_loop(self) -> None:
        """What a lost notification would have said, and which nodes have moved to another gateway."""
        while True:
            await asyncio.sleep(POLL_S)
            states = [self.table.state(node_id) for node_id in self.table.nodes]
            for state in NodeState:
                self.metrics.nodes.labels(state=state).set(states.count(state))
            self.metrics.held_back.set(self.table.holds_back)
            if not self.gateway_id or not states:
                continue
            asked = {node_id: self.table.session_no(node_id) for node_id in self.table.nodes}
            try:
                async with self.database.transaction() as session:
                    held = await self.health.held_by(session, self.gateway_id)
            except Exception as error:
                log.warning("poll_failed", error=str(error))
                continue
            for node_id, session_no in asked.items():
                connection = self.connections.get(node_id)
                version = connection.version if connection else None
                verdict = judge_poll(session_no, self.table.session_no(node_id), held.get(node_id), version)
                if verdict is PollVerdict.SUPERSEDED and session_no is not None:
                    self._superseded(node_id, session_no)
                elif verdict is PollVerdict.REFRESH and connection is not None:
                    connection.wants_refresh()

    async def _write_loop(self, queue: asyncio.Queue[tuple[Change, float]]) -> None:
        while True:
            change, since = await queue.get()
            for attempt in range(1_000_000):
                if not still_true(change, self.table.session_no(change.node_id)):
                    break
                try:
                    await self._write(aged(change, self.clock.monotonic_s() - since))
                    break
                except Exception as error:
                    self.metrics.write_failures.inc()
                    log.warning("change_not_written", node_id=change.node_id, error=str(error))
                    await asyncio.sleep(WRITE_RETRY_S[min(attempt, len(WRITE_RETRY_S) - 1)])
            self._losses_unwritten.settled(change)

    async def _write(self, change: Change) -> None:
        connection = self.connections.get(change.node_id)
        progress = connection.progress() if connection else self._last_progress.get(change.node_id)
        async with self.database.transaction() as session:
            written = await self.health.record_change(session, change, progress)
        if not written:
            self._superseded(change.node_id, change.session_no)
            return
        self.metrics.changes.labels(state=change.state).inc()
        if change.state is NodeState.LOST:
            self._last_progress.pop(change.node_id, None)
            if change.node_id not in self.connections:
                self.table.forget(change.node_id, change.session_no)
        if connection is not None and change.state is not NodeState.SUSPECT:
            connection.wants_refresh()

    def _superseded(self, node_id: str, session_no: int) -> None:
        """A newer session has the node elsewhere."""
        if self.table.session_no(node_id) != session_no:
            return
        self.table.forget(node_id, session_no)
        self._last_progress.pop(node_id, None)
        if connection := self.connections.pop(node_id, None):
            connection.close(4001, "superseded by a newer connection")

    async def _publish_loop(self) -> None:
        while True:
            action = await self._publishes.get()
            with contextlib.suppress(Exception):
                await action()
