"""A whole platform on real servers with a real gateway on a socket, a controller's loops, and scripted agents."""

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
import websockets
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gp4u_protocol.job_spec import JobSpec
from gp4u_protocol.lease_core import LeaseHolder
from gp4u_protocol.messages import (
    AGENT_SOCKET_PATH,
    ActualState,
    AgentLife,
    Challenge,
    Claim,
    Desired,
    Granted,
    Heartbeat,
    HeartbeatAck,
    Hello,
    LogChunk,
    Message,
    NodeFacts,
    NodeHealth,
    PlacementSpec,
    PlacementStatus,
    Progress,
    Proof,
    Refused,
    Rejected,
    Report,
    ReportAck,
    Welcome,
    challenge_bytes,
    decode_from_gateway,
)
from gp4u_server.accounts.service import Accounts
from gp4u_server.accounts.tokens import write_signing_key
from gp4u_server.accounts.types import Role
from gp4u_server.billing.top_ups import TopUpService
from gp4u_server.bookings.service import BookingService
from gp4u_server.bootstrap import build
from gp4u_server.catalyst.jobs.reading import JobReader
from gp4u_server.catalyst.jobs.schemas import JobEventOut, JobOut
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.controller.loops import control_loops
from gp4u_server.controller.runner import Runner
from gp4u_server.foundation.platform import Platform
from gp4u_server.gateway.__main__ import hub_of
from gp4u_server.gateway.app import create_app
from gp4u_server.gateway.hub import Hub
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id
from gp4u_server.market.service import MarketService, Terms
from gp4u_server.nodes.service import NodeService
from gp4u_server.settings import Settings
from sqlalchemy import text

from tests.integration.market_world import facts, signed

HEARTBEAT_S = 0.4
TTL_S = 2.0
PATIENCE_S = 40.0
HANDSHAKE_GIVEN_UP = 1008
"""How a gateway closes a socket whose handshake took too long; where it refuses one, it says so first."""


async def until(what: str, condition: Callable[[], Awaitable[Any]], patience_s: float = PATIENCE_S) -> Any:
    """The first truthy answer of `condition`, asked again and again until it comes."""
    deadline = time.monotonic() + patience_s
    while True:
        if answer := await condition():
            return answer
        assert time.monotonic() < deadline, f"waited {patience_s} s in vain: {what}"
        await asyncio.sleep(0.02)


def settings_for(database_url: str, valkey_url: str, folder: Path) -> Settings:
    """Settings with a lease short enough to wait for."""
    secrets_dir = folder / "secrets"
    write_signing_key(secrets_dir)
    (secrets_dir / "master.key").write_bytes(b"k" * 32)
    (folder / "objects").mkdir()
    values: dict[str, Any] = {
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey_url,
        "secrets_dir": secrets_dir,
        "object_store_dir": folder / "objects",
        "demo": True,  # its nodes are simulated
        "heartbeat_interval_s": HEARTBEAT_S,
        "lease_ttl_s": TTL_S,
        "lease_ttl_max_s": TTL_S,
    }
    return Settings(**values)


@dataclass
class Gateway:
    """A gateway that listens on a port of its own."""

    hub: Hub
    server: uvicorn.Server
    task: asyncio.Task[None]
    loops: asyncio.Task[None]
    url: str

    async def kill(self) -> None:
        """As by kill -9: loops stop at once, sockets drop, nothing is written."""
        self.loops.cancel()
        self.server.force_exit = True
        self.server.should_exit = True
        await asyncio.wait({self.task, self.loops}, timeout=10)


class Stage:
    """The platform and what plays on it."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.database = platform.get(Database)
        self.jobs = platform.get(JobService)
        self.reader = platform.get(JobReader)
        self.agents: list[Agent] = []
        self._controllers: list[asyncio.Task[None]] = []
        self.gateways: list[Gateway] = []

    async def start_gateway(self) -> Gateway:
        """One more gateway, ready."""
        hub = hub_of(self.platform, "test")
        config = uvicorn.Config(
            create_app(hub),
            host="127.0.0.1",
            port=0,
            log_config=None,
            lifespan="off",  # the hub's loops are a task of our own, so that they can be killed
            ws="websockets-sansio",
            ws_ping_interval=None,
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server._serve())
        loops = asyncio.create_task(hub.run())

        async def ready() -> bool:
            return server.started and hub.ready

        await until("gateway ready", ready)
        port = server.servers[0].sockets[0].getsockname()[1]
        gateway = Gateway(hub, server, task, loops, f"ws://127.0.0.1:{port}{AGENT_SOCKET_PATH}")
        self.gateways.append(gateway)
        return gateway

    def start_controller(self) -> asyncio.Task[None]:
        """One more controller."""
        task = asyncio.create_task(Runner(self.database, control_loops(self.platform)).run())
        self._controllers.append(task)
        return task

    async def renter(self, wallet_micros: int = 100_000_000) -> str:
        """Somebody with money."""
        user = await self.platform.get(Accounts).ensure_account(
            email=f"{new_id('r')}@example.org",
            password="correct horse battery",
            name="Rita",
            roles=[Role.RENTER],
        )
        await self.platform.get(TopUpService).top_up(user.id, wallet_micros, None)
        return user.id

    async def node(self, name: str, *, price: int = 500_000, model: str = "RTX_4090") -> "Agent":
        """An enrolled, listed machine whose agent is not connected yet."""
        owner = await self.platform.get(Accounts).ensure_account(
            email=f"{new_id('o')}@example.org",
            password="correct horse battery",
            name="Olaf",
            roles=[Role.OWNER],
        )
        machine = facts(hostname=name, model=model, tag=new_id("x"))
        key = Ed25519PrivateKey.generate()
        nodes, market = self.platform.get(NodeService), self.platform.get(MarketService)
        async with self.database.transaction() as session:
            token = await nodes.create_enrolment_token(session, owner.id, region="eu-west")
            joined = await nodes.join(session, **signed(token.token, key), facts=machine, name=name)
        async with self.database.transaction() as session:
            await market.list_node(
                session,
                owner_id=owner.id,
                owner_name="Olaf",
                node_id=joined.node_id,
                terms=Terms(price, None, 60, 604_800),
            )
        agent = Agent(joined.node_id, joined.name, key, machine)
        self.agents.append(agent)
        return agent

    async def submit(self, renter_id: str, **spec: Any) -> str:
        """A job, placed if something fits."""
        wanted = JobSpec(command="true", **spec)
        async with self.database.transaction() as session:
            job = await self.platform.get(BookingService).submit_job(session, renter_id, wanted)
        return job.id

    async def job(self, job_id: str) -> JobOut:
        """The job as its renter sees it."""
        async with self.database.transaction() as session:
            return await self.reader.job(session, None, job_id)

    async def timeline(self, job_id: str) -> list[JobEventOut]:
        """All its entries."""
        async with self.database.transaction() as session:
            return await self.reader.timeline(session, None, job_id, 0, 500)

    async def kinds(self, job_id: str) -> list[str]:
        """The kinds of its entries."""
        return [event.kind.value for event in await self.timeline(job_id)]

    async def until_state(self, job_id: str, *states: str) -> JobOut:
        """Wait for one of these states."""

        async def reached() -> JobOut | None:
            job = await self.job(job_id)
            return job if job.state.value in states else None

        found: JobOut = await until(f"job {states}", reached)
        return found

    async def scalar(self, sql: str, **values: Any) -> Any:
        """One value."""
        async with self.database.transaction() as session:
            return await session.scalar(text(sql), values)

    async def close(self) -> None:
        """Everything off."""
        for agent in self.agents:
            await agent.crash()
        for task in self._controllers:
            task.cancel()
        if self._controllers:
            await asyncio.wait(self._controllers, timeout=5)
        for gateway in self.gateways:
            await gateway.kill()
        await self.platform.close()


@asynccontextmanager
async def stage_on(database_url: str, valkey_url: str, folder: Path) -> AsyncIterator[Stage]:
    """A stage without gateway or controller yet."""
    stage = Stage(build(settings_for(database_url, valkey_url, folder), process="test"))
    try:
        yield stage
    finally:
        await stage.close()


class Refused401(Exception):
    """The gateway sent `Rejected`."""

    def __init__(self, message: Rejected) -> None:
        super().__init__(message.code)
        self.message = message


@dataclass
class Agent:
    """Plays an agent, message by message, over a real WebSocket. Its lease numbers come from the production core."""

    node_id: str
    name: str
    key: Ed25519PrivateKey
    machine: NodeFacts
    auto_claim: bool = True
    auto_run: bool = True
    beating: bool = True
    lease: LeaseHolder = field(default_factory=LeaseHolder)
    desired: Desired | None = None
    statuses: dict[str, PlacementStatus] = field(default_factory=dict)
    granted: dict[str, Granted] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    acks: list[HeartbeatAck] = field(default_factory=list)
    report_acks: list[ReportAck] = field(default_factory=list)
    others: list[Message] = field(default_factory=list)
    welcome: Welcome | None = None
    clock_off_s: float = 0.0
    health: NodeHealth = field(default_factory=NodeHealth)
    life: AgentLife | None = None
    _socket: Any = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _seq: int = 0
    _report_seq: dict[str, int] = field(default_factory=dict)
    _claims: dict[int, tuple[str, int]] = field(default_factory=dict)

    async def connect(self, gateway: Gateway) -> Welcome:
        """Dial, prove the key, and start to read and beat; again, as an agent does, where the handshake was given up."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self._shake_hands(gateway)
            except websockets.ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else None
                if code != HANDSHAKE_GIVEN_UP or time.monotonic() > deadline:
                    raise

    async def _shake_hands(self, gateway: Gateway) -> Welcome:
        self._socket = await websockets.connect(gateway.url, compression=None)
        await self.send(Hello(agent_version="test", node_id=self.node_id, facts=self.machine, life=self.life))
        challenge = await self._next()
        assert isinstance(challenge, Challenge)
        signature = self.key.sign(challenge_bytes(self.node_id, challenge.nonce))
        await self.send(Proof(signature=base64.b64encode(signature).decode()))
        answer = await self._next()
        if isinstance(answer, Rejected):
            raise Refused401(answer)
        assert isinstance(answer, Welcome)
        self.welcome = answer
        self.lease.begin_session(answer.session_id, answer.lease_ttl_s)
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._beat())]
        return answer

    async def _next(self) -> Message:
        return decode_from_gateway(await asyncio.wait_for(self._socket.recv(), PATIENCE_S))

    async def send(self, message: Message) -> None:
        """One frame."""
        await self._socket.send(message.model_dump_json())

    async def _beat(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                if self.beating:
                    await self.beat()
                await asyncio.sleep(HEARTBEAT_S)

    async def beat(self) -> int:
        """One heartbeat; returns its number."""
        self._seq += 1
        self.lease.heartbeat_sent(self._seq, time.monotonic())
        await self.send(Heartbeat(seq=self._seq, health=self.health, placements=list(self.statuses.values())))
        return self._seq

    async def _read(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await self._hear(decode_from_gateway(await self._socket.recv()))

    async def _hear(self, message: Message) -> None:
        assert self.welcome is not None
        session_id = self.welcome.session_id
        if isinstance(message, Desired):
            self.desired = message
            wanted = {spec.placement_id: spec for spec in message.placements}
            for gone in self.statuses.keys() - wanted.keys():
                del self.statuses[gone]
            if self.auto_claim:
                for spec in wanted.values():
                    if spec.placement_id not in self.statuses:
                        await self.claim(spec)
        elif isinstance(message, Granted):
            renewal = self.lease.claim_granted(session_id, message.seq, message.placement_id, message.epoch)
            if renewal is not None:
                self.granted[message.placement_id] = message
                self.statuses[message.placement_id] = PlacementStatus(
                    placement_id=message.placement_id, epoch=message.epoch, state=ActualState.CLAIMED
                )
                if self.auto_run:
                    await self.report(message.placement_id, message.epoch, ActualState.FETCHING)
                    await self.run(message.placement_id, message.epoch)
        elif isinstance(message, Refused):
            self.refused.append(message)
        elif isinstance(message, HeartbeatAck):
            self.acks.append(message)
            self.lease.heartbeat_acked(
                session_id, message.seq, [(key.placement_id, key.epoch) for key in message.renewed]
            )
        elif isinstance(message, ReportAck):
            self.report_acks.append(message)
        else:
            self.others.append(message)

    async def claim(self, spec: PlacementSpec) -> None:
        """Claim a placement."""
        self._seq += 1
        self.lease.claim_sent(self._seq, spec.placement_id, spec.epoch, time.monotonic())
        await self.send(Claim(seq=self._seq, placement_id=spec.placement_id, epoch=spec.epoch))

    async def run(self, placement_id: str, epoch: int) -> None:
        """Say that it runs."""
        self.statuses[placement_id] = PlacementStatus(
            placement_id=placement_id, epoch=epoch, state=ActualState.RUNNING
        )
        await self.report(
            placement_id,
            epoch,
            ActualState.RUNNING,
            durations_ms={"fetching": 5, "restoring": 7, "starting": 11},
        )

    async def report(self, placement_id: str, epoch: int, state: ActualState, **more: Any) -> Report:
        """One report with the next number."""
        seq = self._report_seq[placement_id] = self._report_seq.get(placement_id, 0) + 1
        report = Report(seq=seq, placement_id=placement_id, epoch=epoch, state=state, **more)
        await self.send(report)
        return report

    async def write(self, placement_id: str, epoch: int, offset: int, output: str) -> None:
        """One piece of output."""
        await self.send(LogChunk(placement_id=placement_id, epoch=epoch, offset=offset, text=output))

    def step(self, placement_id: str, step: int) -> None:
        """The job's progress, told with the next heartbeat."""
        status = self.statuses[placement_id]
        self.statuses[placement_id] = status.model_copy(
            update={"progress": Progress(step=step, total_steps=100, metrics={"loss": 0.5})}
        )

    async def only_placement(self) -> PlacementSpec:
        """The one placement that this node should run, once it is granted."""

        async def there() -> PlacementSpec | None:
            for spec in self.desired.placements if self.desired else []:
                if spec.placement_id in self.granted:
                    return spec
            return None

        found: PlacementSpec = await until(f"{self.name} has a placement", there)
        return found

    @property
    def link_is_open(self) -> bool:
        """Whether the gateway still holds the socket."""
        return self._socket is not None and self._socket.close_code is None

    async def crash(self) -> None:
        """The socket breaks without a goodbye, as when the machine dies."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None

    async def leave(self) -> None:
        """A polite goodbye."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        await self._socket.close(1000)
        self._socket = None
