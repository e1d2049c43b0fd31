"""A real API on a real port, over a real database and folder store, with jobs placed on nodes."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import uvicorn
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI, Header
from gp4u_agent.checkpoint.engine import CheckpointEngine
from gp4u_agent.http import AgentHttp
from gp4u_protocol.job_spec import CheckpointRule, JobSpec
from gp4u_protocol.messages import PlacementSpec
from gp4u_server.accounts.tokens import TokenSigner
from gp4u_server.accounts.types import ALL_SCOPES, Principal, Role
from gp4u_server.accounts.web import current_user
from gp4u_server.adapters import objectstore_web
from gp4u_server.adapters.objectstore import FolderObjectStore
from gp4u_server.api.errors import install_error_documents
from gp4u_server.catalyst.checkpoints import agent_endpoints, endpoints
from gp4u_server.catalyst.checkpoints.choosing import CheckpointChoices
from gp4u_server.catalyst.checkpoints.service import CheckpointService
from gp4u_server.catalyst.jobs.data_keys import DataKeys
from gp4u_server.catalyst.jobs.service import JobService
from gp4u_server.foundation.events import EventBus
from gp4u_server.foundation.outbox import PostgresOutbox
from gp4u_server.kit.db import Database
from gp4u_server.nodes.service import NodeService
from gp4u_server.nodes.tokens import AgentTokens
from gp4u_server.nodes.types import NodeIdentity, NodeStatus


class NoGateways:
    """Nodes without a gateway: nobody waits for their desired versions."""

    async def bump_desired(self, session: object, node_id: str) -> int:
        return 1


class NodeKeys:
    """The nodes' public keys, each made of its id; nodes themselves have their own tests."""

    async def identity(self, session: object, node_id: str) -> NodeIdentity:
        return NodeIdentity(blake3(node_id.encode()).digest(), NodeStatus.VERIFIED)


@dataclass
class Placed:
    """A live placement and what its node needs."""

    spec: PlacementSpec
    node_id: str
    data_key: bytes


@dataclass
class World:
    """The running API and what stands behind it."""

    url: str
    database: Database
    jobs: JobService
    checkpoints: CheckpointService
    choices: CheckpointChoices
    tokens: AgentTokens
    store: FolderObjectStore

    async def create_job(self, renter_id: str = "usr_renter", **spec: Any) -> str:
        """A queued job whose checkpoint folder is `ckpt`."""
        async with self.database.transaction() as session:
            wanted = JobSpec(**{"command": "true", "checkpoint": CheckpointRule(path="ckpt"), **spec})
            return (await self.jobs.create(session, renter_id, wanted)).id

    async def fork(
        self, checkpoint_id: str, renter_id: str = "usr_renter", spec: JobSpec | None = None
    ) -> str:
        """A queued job that begins with a checkpoint, made as bookings make it."""
        async with self.database.transaction() as session:
            start = await self.choices.choose_start(session, renter_id, checkpoint_id)
            wanted = spec or JobSpec(
                command="true", checkpoint=CheckpointRule(path="ckpt"), start_from=checkpoint_id
            )
            job = await self.jobs.create(session, renter_id, wanted, start_from=start.id)
            await self.choices.record_fork(session, job.id, start)
            return job.id

    async def place(self, job_id: str, node_id: str) -> Placed:
        """The job's next placement, claimed by `node_id`."""
        offer: Any = SimpleNamespace(
            id="off_1",
            node_id=node_id,
            node_name=f"name-of-{node_id}",
            region="eu",
            simulated=True,
            gpu_model="RTX_4090",
            hazard_per_hour=0.5,
        )
        async with self.database.transaction() as session:
            job = await self.jobs.get(session, job_id)
            placement = await self.jobs.create_placement(
                session, job, offer=offer, booking_id="bkg_1", device_uuids=["GPU-1"], rate_per_hour_micros=1
            )
            key = await self.jobs.record_claim(session, node_id, placement.id, placement.epoch)
            live = await self.jobs.live_on_node(session, node_id)
        (spec,) = [found.spec for found in live if found.spec.placement_id == placement.id]
        return Placed(spec, node_id, key)

    async def lose(self, node_id: str) -> None:
        """The node's lease runs out."""
        async with self.database.transaction() as session:
            lost = await self.jobs.record_node_lost(session, node_id, 6.0)
        for job_id in lost:
            async with self.database.transaction() as session:
                assert await self.jobs.settle_loss(session, job_id)

    def agent(self, node_id: str) -> AgentHttp:
        """The HTTP client of a node's agent."""
        http = AgentHttp(self.url)
        http.token = self.tokens.mint(node_id)
        return http

    def engine(self, placed: Placed, root: Path, http: AgentHttp | None = None) -> CheckpointEngine:
        """The engine of a placement on its node's own disk."""
        (root / "job").mkdir(parents=True, exist_ok=True)
        return CheckpointEngine(
            http or self.agent(placed.node_id), placed.spec, placed.data_key, root / "job" / "ckpt", root / "cache",
            lambda: (), first_delay_s=0.01, dump_folder=root / "dump",
        )  # fmt: skip

    def renter(self, user_id: str = "usr_renter") -> httpx2.AsyncClient:
        """A renter's client."""
        return httpx2.AsyncClient(base_url=self.url, headers={"X-Test-User": user_id}, timeout=60)


async def _named_user(x_test_user: str = Header("usr_renter")) -> Principal:
    return Principal(
        x_test_user,
        f"{x_test_user}@gp4u.demo",
        x_test_user,
        frozenset({Role.RENTER}),
        ALL_SCOPES,
        None,
        "bearer",
    )


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """See the module."""
    store = FolderObjectStore.open(tmp_path / "objects", bytes(32))
    jobs = JobService(EventBus(PostgresOutbox()), DataKeys(bytes(32)), NoGateways())
    checkpoints = CheckpointService(jobs, store)
    tokens = AgentTokens(TokenSigner.of(Ed25519PrivateKey.generate()))
    choices = CheckpointChoices(jobs)
    world = World("", database, jobs, checkpoints, choices, tokens, store)
    app = FastAPI()
    app.state.provided = {
        Database: database, JobService: jobs, CheckpointService: checkpoints, AgentTokens: tokens,
        FolderObjectStore: store, CheckpointChoices: choices, NodeService: NodeKeys(),
    }  # fmt: skip
    app.dependency_overrides[current_user] = _named_user  # signing in has its own tests
    for router in (endpoints.router, agent_endpoints.router, objectstore_web.router):
        app.include_router(router, prefix="/api/v1")
    install_error_documents(app)

    @app.get("/api/v1/jobs/{job_id}")
    async def read_job(job_id: str) -> dict[str, Any]:
        async with database.transaction() as session:  # all that the command under test needs of a job
            job = await jobs.get(session, job_id)
        return {"id": job_id, "name": job.name, "spec": job.spec.model_dump(mode="json")}

    @app.post("/api/v1/jobs", status_code=201)
    async def submit_job(body: JobSpec) -> dict[str, Any]:
        assert body.start_from is not None  # placing and paying have their own tests
        return {"id": await world.fork(body.start_from, spec=body), "name": body.name}

    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    )
    running = asyncio.create_task(server.serve())
    deadline = asyncio.get_running_loop().time() + 20
    while not server.started:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    world.url = f"http://127.0.0.1:{port}"
    yield world
    server.should_exit = True
    await running


def decoded(key: str) -> bytes:
    """A data key as the API sends it."""
    return base64.b64decode(key)
