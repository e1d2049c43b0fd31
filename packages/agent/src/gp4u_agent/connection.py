"""The agent's WebSocket: dials out, proves its key, keeps beating, and dials again when anything is wrong."""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Protocol

from gp4u_protocol.lease import HEARTBEAT_INTERVAL_S
from gp4u_protocol.lease_core import SILENT_BEATS, link_patience_s
from gp4u_protocol.messages import (
    FRAME_BYTES_MAX,
    AgentLife,
    AgentMessage,
    Challenge,
    GatewayMessage,
    Hello,
    NodeFacts,
    Proof,
    Rejected,
    Welcome,
    decode_from_gateway,
)
from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from gp4u_agent import __version__
from gp4u_agent.addresses import Addresses, Attempt
from gp4u_agent.identity import Membership, NodeKey

HANDSHAKE_TIMEOUT_S = 5.0
OUTBOX_MAX = 1024

log = logging.getLogger(__name__)


class SessionRefused(Exception):
    """The gateway refuses this node for good: a person has to act."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class LinkBroken(Exception):
    """This connection is of no use any more; dial again."""


class SessionOwner(Protocol):
    """Who lives on the connection: the agent."""

    def facts(self) -> NodeFacts: ...

    def life(self) -> AgentLife: ...

    def welcomed(self, welcome: Welcome) -> None: ...

    def heard(self, message: GatewayMessage) -> None: ...

    def beat(self, seq: int) -> AgentMessage:
        """The heartbeat; called right before it is sent, so that its send time can be noted."""

    def left(self) -> None: ...


class Connection:
    """Keeps one session alive until `run` is cancelled or the gateway refuses for good."""

    def __init__(
        self, owner: SessionOwner, key: NodeKey, membership: Membership, addresses: Addresses
    ) -> None:
        self._owner = owner
        self._key = key
        self._membership = membership
        self._addresses = addresses
        self._outbox: asyncio.Queue[Callable[[], AgentMessage]] | None = None
        self._sent: dict[int, float] = {}
        self._interval_s = HEARTBEAT_INTERVAL_S
        self._patience_s = SILENT_BEATS * HEARTBEAT_INTERVAL_S
        self._had_session = False

    @property
    def connected(self) -> bool:
        """Whether a session is open."""
        return self._outbox is not None

    def send(self, make: Callable[[], AgentMessage]) -> None:
        """Queue a message; `make` runs right before it goes out. Without a session it is dropped: senders re-send."""
        if self._outbox is not None:
            try:
                self._outbox.put_nowait(make)
            except asyncio.QueueFull:
                log.warning("too much waits to be sent; a message was dropped and will be sent again")

    def acknowledged(self, seq: int, ttl_s: float | None = None) -> None:
        """Heartbeat `seq` was answered, and renewed leases for `ttl_s` (None: as `Welcome` said)."""
        if ttl_s is not None:
            self._patience_s = link_patience_s(self._interval_s, ttl_s)
        self._sent = {other: sent_at for other, sent_at in self._sent.items() if other > seq}

    async def run(self) -> None:
        """Dial for ever, one address after the other and never two at a time. Raises SessionRefused."""
        loop = asyncio.get_running_loop()
        while True:
            attempt = self._addresses.next(loop.time())
            await asyncio.sleep(attempt.pause_s)
            try:
                await self._session(attempt)
            except SessionRefused:
                raise
            except (OSError, WebSocketException, LinkBroken, TimeoutError, ValidationError) as error:
                log.info("%s: %s", attempt.url, error or type(error).__name__)
            self._addresses.failed(attempt.url, loop.time())

    async def _session(self, attempt: Attempt) -> None:
        async with connect(
            attempt.url,
            open_timeout=attempt.open_timeout_s,
            close_timeout=0.5,
            ping_interval=None,
            compression=None,
            max_size=FRAME_BYTES_MAX,
            user_agent_header=f"gp4u-agent/{__version__}",
        ) as socket:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                welcome = await self._handshake(socket)
            self._addresses.reached(attempt.url)
            self._outbox = asyncio.Queue(OUTBOX_MAX)
            self._sent = {}
            self._interval_s = welcome.heartbeat_interval_s
            self._patience_s = link_patience_s(welcome.heartbeat_interval_s, welcome.lease_ttl_s)
            self._had_session = True
            try:
                self._owner.welcomed(welcome)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._receive(socket))
                    tasks.create_task(self._send(socket))
                    tasks.create_task(self._beat(socket, welcome.heartbeat_interval_s))
            except* SessionRefused as refused:
                raise refused.exceptions[0] from None
            except* (OSError, WebSocketException, LinkBroken, TimeoutError, ValidationError) as broken:
                raise LinkBroken(str(_first(broken))) from None
            finally:
                self._outbox = None
                self._owner.left()
                # A half-open link would make the polite goodbye wait for its time-out.
                socket.transport.abort()

    async def _handshake(self, socket: ClientConnection) -> Welcome:
        hello = Hello(
            agent_version=__version__,
            node_id=self._membership.node_id,
            facts=self._owner.facts(),
            life=self._owner.life(),
            resumed=self._had_session,
        )
        await socket.send(hello.model_dump_json())
        while True:
            message = decode_from_gateway(await socket.recv())
            if isinstance(message, Challenge):
                proof = Proof(signature=self._key.prove_challenge(self._membership.node_id, message.nonce))
                await socket.send(proof.model_dump_json())
            elif isinstance(message, Welcome):
                return message
            elif isinstance(message, Rejected):
                _raise_rejection(message)

    async def _receive(self, socket: ClientConnection) -> None:
        async for frame in socket:
            message = decode_from_gateway(frame)
            if isinstance(message, Rejected):
                _raise_rejection(message)
            self._owner.heard(message)
        raise LinkBroken("the gateway closed the connection")

    async def _send(self, socket: ClientConnection) -> None:
        assert self._outbox is not None
        while True:
            make = await self._outbox.get()
            await socket.send(make().model_dump_json())

    async def _beat(self, socket: ClientConnection, interval_s: float) -> None:
        loop = asyncio.get_running_loop()
        seq = 0
        next_at = loop.time()
        while True:
            seq += 1
            self._sent[seq] = loop.time()
            await asyncio.wait_for(socket.send(self._owner.beat(seq).model_dump_json()), self._patience_s)
            # After a pause of ours (SIGSTOP, suspend) beats are not made up for: the next one says it all.
            next_at = max(next_at + interval_s, loop.time())
            await asyncio.sleep(min(next_at, self._broken_at()) - loop.time())
            if loop.time() < self._broken_at():
                await asyncio.sleep(next_at - loop.time())
            if loop.time() >= self._broken_at():
                raise LinkBroken("heartbeats are not answered")

    def _broken_at(self) -> float:
        """When the link counts as half open, unless an answer comes. Not only looked at with each beat: half a beat sooner is
        half a beat more of the lease to find another gateway in."""
        return min(self._sent.values(), default=math.inf) + self._patience_s


def _raise_rejection(message: Rejected) -> None:
    if message.retry:
        raise LinkBroken(f"the gateway said {message.code}: {message.detail}")
    raise SessionRefused(message.code, message.detail)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
