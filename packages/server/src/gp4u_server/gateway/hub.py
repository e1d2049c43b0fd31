"""The heart of a gateway: the lease table, the loops that drive it, and who is connected."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

import structlog
from gp4u_protocol.messages import Progress

from gp4u_server.catalyst.health.authority import AUTHORITY_RENEW_S, authority_until
from gp4u_server.catalyst.health.lease_table import Change, LeaseTable, NodeState
from gp4u_server.catalyst.health.service import HealthService
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.catalyst.jobs.transitions import NODE_DESIRED_CHANNEL
from gp4u_server.catalyst.standby.service import StandbyService
from gp4u_server.catalyst.telemetry.service import TelemetryService
from gp4u_server.foundation.listening import notifications
from gp4u_server.foundation.streams import Streams
from gp4u_server.gateway.change_writing import ChangeWriter
from gp4u_server.gateway.decisions import UnwrittenLosses
from gp4u_server.gateway.metrics import GatewayMetrics
from gp4u_server.gateway.opening import SessionOpener
from gp4u_server.gateway.polling import Poll
from gp4u_server.gateway.telemetry_buffer import TelemetryBuffer
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id
from gp4u_server.nodes.addresses import PublicAddress
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.tokens import AgentTokens

log = structlog.get_logger(__name__)

TICK_S = 0.1
NOTE_S = 0.5
NOTES_MAX = 100
"""TTLs written in one transaction: it holds the rows of as many nodes."""
PUBLISH_QUEUED_MAX = 2_000
CUT_OFF_CODE = 1013


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

    @property
    def closing(self) -> bool:
        """Whether it was told to end."""
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
        lease_ttl_max_s: float,
        address: str = "",
        public: PublicAddress | None = None,
        authority_database: Database | None = None,
        standbys: StandbyService | None = None,
        telemetry: TelemetryService | None = None,
        telemetry_every_s: float = 10.0,
    ) -> None:
        self.database = database
        # Agents' messages may use every connection of the pool for long; the right to renew leases must not wait there.
        self._authority_database = authority_database or database
        self.nodes = nodes
        self.jobs = jobs
        self.health = health
        self.standbys = standbys
        self.tokens = tokens
        self.streams = streams
        self.clock = clock
        self.heartbeat_interval_s = heartbeat_interval_s
        self.lease_ttl_s = lease_ttl_s
        self.address = address
        # What agents are told of. Where nothing was named one by one they know the public address already.
        self.gateway_urls = list(public.gateways) if public else []
        self.api_urls = list(public.apis) if public else []
        self.gateway_id = ""
        self.leaving = False
        """Told to end: nobody is let in any more (see `leaving`)."""
        self.table = LeaseTable(heartbeat_interval_s, lease_ttl_s, lease_ttl_max_s)
        self.metrics = GatewayMetrics()
        self.telemetry = (
            TelemetryBuffer(database, telemetry, clock, self.metrics.registry, every_s=telemetry_every_s)
            if telemetry is not None
            else None
        )
        self.connections: dict[str, Connected] = {}
        self._losses_unwritten = UnwrittenLosses()
        self._writer = ChangeWriter(
            self._write, self.table.session_no, clock, self.metrics, self._losses_unwritten
        )
        self._cut_off_until = float("-inf")
        # Node → its session that said goodbye, until that is written.
        self._goodbyes: dict[str, int] = {}
        self.poll = Poll(
            database=database,
            health=health,
            clock=clock,
            metrics=self.metrics,
            table=self.table,
            connections=self.connections,
            goodbyes=self._goodbyes,
            writer=self._writer,
            losses=self._losses_unwritten,
            superseded=self._superseded,
            write_change=self.write_change,
            say_goodbye=self.say_goodbye,
        )
        self._writer.unsettled = self.poll.look_again
        self.opener = SessionOpener(database, nodes, health, standbys, self.metrics)
        self._publishes: asyncio.Queue[Callable[[], Awaitable[object]]] = asyncio.Queue(PUBLISH_QUEUED_MAX)
        # Handshakes under way, and those of them during which something new was wanted of the node.
        self._shaking: Counter[str] = Counter()
        self._announced: set[str] = set()
        # Of nodes whose socket is gone already, until their loss is written.
        self._last_progress: dict[str, dict[str, Progress]] = {}

    @property
    def ready(self) -> bool:
        """Whether agents are served."""
        return (
            bool(self.gateway_id) and not self.leaving and self.table.has_authority(self.clock.monotonic_s())
        )

    async def run(self) -> None:
        """All loops; ends only by an error of ours or cancellation."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._authority_loop())
            group.create_task(self._tick_loop())
            group.create_task(self._listen_loop())
            group.create_task(self._poll_loop())
            group.create_task(self._ttl_loop())
            group.create_task(self._writer.run())
            group.create_task(self.opener.run())
            group.create_task(self._publish_loop())
            if self.telemetry is not None:
                group.create_task(self.telemetry.run())

    # --- connections -------------------------------------------------------------------------------------

    def attach(self, connection: Connected) -> None:
        """A connection is welcomed; an older one of the same node goes."""
        before = self.connections.get(connection.node_id)
        self.connections[connection.node_id] = connection
        self.poll.opened(connection.node_id)
        if self.was_announced(connection.node_id):
            connection.wants_refresh()
        if before is not None and before is not connection:
            before.close(4001, "superseded by a newer connection")

    def detach(self, connection: Connected) -> None:
        """The socket is gone. Its leases run on in the table until they run out or the node is back."""
        if self.connections.get(connection.node_id) is connection:
            del self.connections[connection.node_id]
            if self.table.state(connection.node_id) is not None:
                self._last_progress[connection.node_id] = connection.progress()

    @contextlib.contextmanager
    def shaking_hands(self, node_id: str) -> Iterator[None]:
        """While the block runs, the node's wanted state may be read and not yet be anybody's to send."""
        self._shaking[node_id] += 1
        try:
            yield
        finally:
            self._shaking[node_id] -= 1
            if not self._shaking[node_id]:
                del self._shaking[node_id]
                self._announced.discard(node_id)

    def was_announced(self, node_id: str) -> bool:
        """Whether the node's wanted state changed during its handshake."""
        return node_id in self._announced

    def write_change(self, change: Change) -> None:
        """Write a change soon; changes of one node are written in order."""
        self._writer.add(change)

    def was_cut_off(self, silent_s: float | None) -> bool:
        """Whether we had no authority at some time during the last `silent_s`."""
        return silent_s is not None and self.clock.monotonic_s() - silent_s <= self._cut_off_until

    async def say_goodbye(self, node_id: str, session_no: int) -> None:
        """The node left with nothing running. Written now, or by the poll when the database is away."""
        self._goodbyes[node_id] = session_no
        try:
            async with self.database.transaction() as session:
                await self.health.node_left(session, node_id, session_no)
        except Exception as error:
            log.warning("goodbye_not_written", node_id=node_id, error=str(error))
        else:
            self._goodbyes.pop(node_id, None)

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
                self._leave_if_cut_off()
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
                horizon = await self.health.horizon(session)
                await self.health.begin_authority(session, fresh, self.address)
            self.poll.begin(horizon)
            self.gateway_id = fresh
            log.info("authority_begun", gateway_id=fresh)
        now = self.clock.monotonic_s()
        if not self.table.has_authority(now):
            self._cut_off_until = now
        lapsed = self.table.lapse(now)
        self.table.authority_renewed(authority_until(began))
        for change in lapsed:
            self.write_change(change)

    def _leave_if_cut_off(self) -> None:
        """Without authority we can renew nothing: our agents may find a gateway that can. Their nodes stay in the table,
        unjudged, and whoever finds none is back with us when the database is."""
        if self.connections and not self.table.has_authority(self.clock.monotonic_s()):
            log.error("cut_off", connections=len(self.connections))
            self.metrics.cut_off.inc()
            for connection in list(self.connections.values()):
                connection.close(CUT_OFF_CODE, "the gateway is cut off; try another")

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
            if not node_id:
                self.poll.soon()  # something may have been missed
                continue
            if node_id in self._shaking:
                self._announced.add(node_id)
            if (connection := self.connections.get(node_id)) is not None:
                connection.wants_refresh()

    async def _ttl_loop(self) -> None:
        """Longer leases are noted before they are granted, shorter ones when the longer are over. One round after the other:
        a note that waits in the database holds its node's row, so no later one of ours can come to lie under it."""
        while True:
            await asyncio.sleep(NOTE_S)
            due = self.table.notes_due(self.clock.monotonic_s())
            for batch in (due[first : first + NOTES_MAX] for first in range(0, len(due), NOTES_MAX)):
                try:
                    async with self.database.transaction() as session:
                        written = await self.health.note_ttls(session, batch)
                except Exception as error:
                    self.metrics.write_failures.inc()
                    log.warning("ttls_not_noted", nodes=len(batch), error=repr(error))
                    break
                for note in written:
                    log.info("lease_ttl", node_id=note.node_id, ttl_s=note.ttl_s, why=note.why)
                    self.table.noted(note)

    async def _poll_loop(self) -> None:
        """What a lost notification would have said, and which nodes have moved to another gateway."""
        while True:
            await self.poll.pause()
            self._measure()
            if not self.gateway_id:
                continue
            try:
                await self.poll.look(self.gateway_id)
            except Exception as error:
                log.warning("poll_failed", error=repr(error))

    def _measure(self) -> None:
        for state, count in self.table.counted().items():
            self.metrics.nodes.labels(state=state).set(count)
        self.metrics.held_back.set(self.table.holds_back)
        longer = self.table.longer_ttls
        self.metrics.longer_leases.set(len(longer))
        self.metrics.lease_ttl_max.set(max(longer, default=self.lease_ttl_s))

    async def _write(self, change: Change) -> None:
        connection = self.connections.get(change.node_id)
        progress = connection.progress() if connection else self._last_progress.get(change.node_id)
        async with self.database.transaction() as session:
            written = await self.health.record_change(
                session, change, progress, socket_open=connection is not None
            )
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
