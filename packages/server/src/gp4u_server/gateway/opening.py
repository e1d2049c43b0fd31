"""Sessions begin together: whoever has proved its key meanwhile is written in one transaction with the others.

After a restart of ours the whole fleet is at the door. One by one its sessions cost some twenty statements each, and most
of them have nothing to say: the node is as it was. Those are written many at a time; whoever needs more has a transaction
of its own, a few of them at once.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from gp4u_protocol.messages import StandbySpec

from gp4u_server.catalyst.health.service import Connected, HealthService, Unheard
from gp4u_server.catalyst.standby.service import StandbyService
from gp4u_server.gateway.metrics import GatewayMetrics
from gp4u_server.kit.db import Database
from gp4u_server.nodes.arrivals import Arrival
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import NodeIdentity

log = structlog.get_logger(__name__)

WRITERS = 2
TOGETHER_MAX = 64
ALONE_AT_ONCE = 6
WRITING_S_MAX = 1.5
"""Whoever has less time left of its handshake is not written with others: one that gave up must end nobody else's."""


@dataclass(frozen=True)
class Opened:
    """A session as just written."""

    connected: Connected
    standbys: list[StandbySpec] | None


@dataclass
class _Waiting:
    arrival: Arrival
    gateway_id: str
    unheard: Unheard | None
    until: float
    opened: asyncio.Future[Opened | None]


@dataclass(frozen=True)
class SessionOpener:
    """Identities and new sessions, read and written in batches that are as large as the queue is long."""

    database: Database
    nodes: NodeService
    health: HealthService
    standbys: StandbyService | None
    metrics: GatewayMetrics
    _asked: dict[str, list[asyncio.Future[NodeIdentity | None]]] = field(default_factory=dict)
    _waiting: list[_Waiting] = field(default_factory=list)
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _questions: asyncio.Event = field(default_factory=asyncio.Event)
    _alone: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ALONE_AT_ONCE))

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._answer_questions())
            for _ in range(WRITERS):
                group.create_task(self._write_sessions())

    async def identity(self, node_id: str) -> NodeIdentity | None:
        """Key and status of a node, or None for an unknown id."""
        answer: asyncio.Future[NodeIdentity | None] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(node_id, []).append(answer)
        self._questions.set()
        return await answer

    async def open(
        self, arrival: Arrival, *, gateway_id: str, unheard: Unheard | None, until: float
    ) -> Opened:
        """Begin the node's session before `until` on the loop's clock. Raises what `HealthService.node_connected` raises."""
        loop = asyncio.get_running_loop()
        if until - loop.time() > WRITING_S_MAX:
            waiting = _Waiting(arrival, gateway_id, unheard, until, loop.create_future())
            self._waiting.append(waiting)
            self._work.set()
            if (opened := await waiting.opened) is not None:
                self.metrics.opened.labels(how="together").inc()
                return opened
        async with self._alone:
            opened = await self._open_alone(arrival, gateway_id, unheard)
        self.metrics.opened.labels(how="alone").inc()
        return opened

    async def _open_alone(self, arrival: Arrival, gateway_id: str, unheard: Unheard | None) -> Opened:
        async with self.database.transaction() as session:
            connected = await self.health.node_connected(
                session,
                arrival.node_id,
                gateway_id=gateway_id,
                facts=arrival.facts,
                life=arrival.life,
                silent_s=None if unheard is None else unheard.silent_s,
                cut_off=unheard is not None and unheard.cut_off,
            )
            standbys = None
            if self.standbys is not None:
                standbys = await self.standbys.wanted_on_node(session, arrival.node_id)
        return Opened(connected, standbys)

    # --- together ------------------------------------------------------------------------------------------

    async def _write_sessions(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._work.wait()
            batch = self._next_batch(loop.time())
            if not batch:
                self._work.clear()
                continue
            written: Mapping[str, Opened] = {}
            try:
                # Over before any of them gives its handshake up: a session that is written later would end the next one.
                async with asyncio.timeout(WRITING_S_MAX):
                    written = await self._open_together(batch)
            except Exception as error:
                self.metrics.write_failures.inc()
                log.warning("sessions_not_written_together", nodes=len(batch), error=repr(error))
            for each in batch:
                if not each.opened.done():
                    each.opened.set_result(written.get(each.arrival.node_id))

    def _next_batch(self, now: float) -> list[_Waiting]:
        """Each node once, all for one life of the gateway, and none that has given up or soon will."""
        batch: dict[str, _Waiting] = {}
        left: list[_Waiting] = []
        for each in self._waiting:
            if each.opened.done():
                continue
            first = next(iter(batch.values()), each)
            if now + WRITING_S_MAX > each.until:
                each.opened.set_result(None)
            elif (
                len(batch) < TOGETHER_MAX
                and each.gateway_id == first.gateway_id
                and each.arrival.node_id not in batch
            ):
                batch[each.arrival.node_id] = each
            else:
                left.append(each)
        self._waiting[:] = left
        return list(batch.values())

    async def _open_together(self, batch: Sequence[_Waiting]) -> dict[str, Opened]:
        async with self.database.transaction() as session:
            connected = await self.health.nodes_connected(
                session,
                [each.arrival for each in batch],
                gateway_id=batch[0].gateway_id,
                unheard={each.arrival.node_id: each.unheard for each in batch if each.unheard is not None},
            )
            standbys: Mapping[str, list[StandbySpec]] = {}
            if self.standbys is not None and connected:
                standbys = await self.standbys.wanted_on_nodes(session, list(connected))
        return {node_id: Opened(each, standbys.get(node_id)) for node_id, each in connected.items()}

    # --- identities ----------------------------------------------------------------------------------------

    async def _answer_questions(self) -> None:
        while True:
            await self._questions.wait()
            self._questions.clear()
            asked = dict(self._asked)
            self._asked.clear()
            if not asked:
                continue
            try:
                async with self.database.transaction() as session:
                    known = await self.nodes.identities(session, list(asked))
            except Exception as error:
                for answer in itertools.chain.from_iterable(asked.values()):
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for node_id, answers in asked.items():
                for answer in answers:
                    if not answer.done():
                        answer.set_result(known.get(node_id))
