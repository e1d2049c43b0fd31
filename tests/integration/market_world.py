"""A small market on a real database: people, nodes and offers, made through the services themselves."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gp4u_protocol.messages import DeviceFacts, NodeFacts, join_bytes
from gp4u_protocol.transparent import TransparentFacts
from gp4u_server.foundation.events import EventBus
from gp4u_server.foundation.outbox import PostgresOutbox
from gp4u_server.kit.clock import ManualClock
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id
from gp4u_server.market.catalogue import load
from gp4u_server.market.handlers import MarketHandlers
from gp4u_server.market.invariants import INVARIANTS
from gp4u_server.market.service import MarketService, Terms
from gp4u_server.market.types import OfferView
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.types import Joined
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

VRAM_MB = {"RTX_3090": 24576, "RTX_4090": 24564, "L40S": 46068, "A100_80GB": 81920, "H100_SXM": 81559}


def facts(
    *,
    model: str = "RTX_4090",
    gpus: int = 1,
    hostname: str = "box",
    simulated: bool = True,
    tag: str = "",
    transparent: TransparentFacts | None = None,
) -> NodeFacts:
    """Plausible facts of a machine; `tag` makes the GPUs' UUIDs its own."""
    return NodeFacts(
        hostname=hostname,
        os="Debian 12",
        kernel="6.18",
        cpu_model="EPYC",
        cpus=32,
        memory_mb=128 * 1024,
        disk_free_mb=500 * 1024,
        devices=[
            DeviceFacts(
                uuid=f"GPU-{tag or hostname}-{number}",
                model=model,
                vram_mb=VRAM_MB.get(model, 8192),
                simulated=simulated,
            )
            for number in range(gpus)
        ],
        runtimes={"sandbox": "bubblewrap+seccomp", **({"bundle": "runc"} if transparent else {})},
        transparent=transparent,
        simulated=simulated,
    )


def signed(token: str, key: Ed25519PrivateKey | None = None) -> dict[str, str]:
    """Token, public key and signature as an agent sends them."""
    key = key or Ed25519PrivateKey.generate()
    public_key = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    signature = base64.b64encode(key.sign(join_bytes(token, public_key))).decode()
    return {"token": token, "public_key": public_key, "signature": signature}


@dataclass
class World:
    """Services wired as in production, on the test's database."""

    database: Database
    clock: ManualClock = field(default_factory=ManualClock)
    numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.bus = EventBus(PostgresOutbox())
        self.nodes = NodeService(self.bus, self.clock, load())
        self.market = MarketService(self.nodes, load(), self.clock)
        MarketHandlers(self.market).subscribe(self.bus)

    async def person(self, name: str = "Ada") -> str:
        """An account; answers its id."""
        user_id = new_id("user")
        async with self.database.transaction() as session:
            await session.execute(
                text(
                    "INSERT INTO users (id, email, name, password_hash, roles)"
                    " VALUES (:id, :id || '@example.org', :name, 'none', '{renter,owner}')"
                ),
                {"id": user_id, "name": name},
            )
        return user_id

    async def enrol(
        self, owner_id: str, machine: NodeFacts | None = None, *, region: str = "eu-west", online: bool = True
    ) -> Joined:
        """A machine that joined and, unless told otherwise, connected."""
        machine = machine or facts(hostname=f"box{next(self.numbers)}")
        async with self.database.transaction() as session:
            made = await self.nodes.create_enrolment_token(session, owner_id, region=region)
            joined = await self.nodes.join(session, **signed(made.token), facts=machine)
        if online:
            await self.connect(joined.node_id, machine)
        return joined

    async def connect(self, node_id: str, machine: NodeFacts) -> int:
        """The node proves its key to a gateway; answers the session's number."""
        async with self.database.transaction() as session:
            return await self.nodes.record_connected(
                session, node_id, gateway_id="gw-1", facts=machine, now=self.clock.now()
            )

    async def offer(
        self,
        owner_id: str,
        *,
        price: int = 500_000,
        region: str = "eu-west",
        model: str = "RTX_4090",
        gpus: int = 1,
        session: AsyncSession | None = None,
    ) -> OfferView:
        """A listed offer on a fresh online node."""
        joined = await self.enrol(
            owner_id, facts(model=model, gpus=gpus, hostname=f"box{next(self.numbers)}"), region=region
        )
        async with self.database.transaction() as session:
            return await self.list_node(session, owner_id, joined.node_id, price=price)

    async def list_node(
        self, session: AsyncSession, owner_id: str, node_id: str, *, price: int = 500_000
    ) -> OfferView:
        """List a node at `price`."""
        return await self.market.list_node(
            session,
            owner_id=owner_id,
            owner_name="Ada",
            node_id=node_id,
            terms=Terms(price, None, 60, 604_800),
        )

    async def check_invariants(self) -> None:
        """Every invariant of the market holds."""
        async with self.database.transaction() as session:
            for name, statement in INVARIANTS.items():
                broken = (await session.execute(text(statement))).all()
                assert not broken, f"{name}: {broken}"
