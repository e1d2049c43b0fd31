"""Brings changes of liveness to the database: those of one node in order, those of different nodes never in each other's way."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gp4u_server.catalyst.health.lease_table import Change
from gp4u_server.gateway.decisions import UnwrittenLosses, aged, retry_after_s, still_true
from gp4u_server.gateway.metrics import GatewayMetrics
from gp4u_server.kit.clock import Clock

log = structlog.get_logger(__name__)

WRITERS = 8
WAITING_OF_ONE_NODE_MAX = 8
_OUTAGES = (OperationalError, InterfaceError, PoolTimeout, TimeoutError, OSError)


@dataclass
class _Waiting:
    # Each with the instant from which its `silent_s` counts on until it is written.
    changes: deque[tuple[Change, float]] = field(default_factory=deque)
    attempts: int = 0


class ChangeWriter:
    """A few writers share the nodes that have something to write. What cannot be written is tried again after a pause
    that doubles, while other nodes' changes pass by, and is given up after a limit: `Hub` then rebuilds it from its whole
    state. Nothing is remembered of nodes that have nothing to write."""

    def __init__(
        self,
        write: Callable[[Change], Awaitable[None]],
        session_no: Callable[[str], int | None],
        clock: Clock,
        metrics: GatewayMetrics,
        losses: UnwrittenLosses,
    ) -> None:
        self._write = write
        self._session_no = session_no
        self._clock = clock
        self._metrics = metrics
        self._losses = losses
        self.written: set[str] = set()
        """Nodes of which something was written since the reader of this set emptied it."""
        self.unsettled: Callable[[str], None] = lambda node_id: None
        """Hears of nodes of which something will not be written: their row says what is not true."""
        self._waiting: dict[str, _Waiting] = {}
        self._ready: asyncio.Queue[str] = asyncio.Queue()  # a node is in it once at most

    def add(self, change: Change) -> None:
        """Write this soon."""
        now = self._clock.monotonic_s()
        self._losses.declared(change, now)
        waiting = self._waiting.get(change.node_id)
        if waiting is None:
            waiting = self._waiting[change.node_id] = _Waiting()
            self._ready.put_nowait(change.node_id)
        if len(waiting.changes) >= WAITING_OF_ONE_NODE_MAX:
            self._metrics.dropped.labels(kind="change").inc()
            self.unsettled(change.node_id)
            return
        waiting.changes.append((change, now))

    def has_work(self, node_id: str) -> bool:
        """Whether something of this node waits or is being written."""
        return node_id in self._waiting

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            node_id = await self._ready.get()
            waiting = self._waiting[node_id]
            change, since = waiting.changes[0]
            if not still_true(change, self._session_no(node_id)):
                self._done(node_id, waiting, change)
                continue
            try:
                await self._write(aged(change, self._clock.monotonic_s() - since))
            except Exception as error:
                self._failed(node_id, waiting, error)
            else:
                self.written.add(node_id)
                self._done(node_id, waiting, change)

    def _done(self, node_id: str, waiting: _Waiting, change: Change) -> None:
        self._losses.settled(change)
        waiting.changes.popleft()
        waiting.attempts = 0
        if waiting.changes:
            self._ready.put_nowait(node_id)
        else:
            del self._waiting[node_id]

    def _failed(self, node_id: str, waiting: _Waiting, error: Exception) -> None:
        self._metrics.write_failures.inc()
        waiting.attempts += 1
        pause_s = retry_after_s(waiting.attempts, outage=isinstance(error, _OUTAGES))
        state = waiting.changes[0][0].state
        if pause_s is None:
            # All that waits of this node goes: what comes after a change that is missing would not make sense.
            del self._waiting[node_id]
            self.unsettled(node_id)
            self._metrics.given_up.inc()
            log.error(
                "change_given_up", node_id=node_id, state=state, attempts=waiting.attempts, error=repr(error)
            )
            return
        log.warning("change_not_written", node_id=node_id, state=state, error=repr(error))
        asyncio.get_running_loop().call_later(pause_s, self._ready.put_nowait, node_id)
