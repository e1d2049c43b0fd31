"""A small marketplace to talk to: the agent's wire peer, over a real WebSocket and real HTTP.

It grants, renews and acknowledges by the protocol's rules and can be told to misbehave: fall silent, close, refuse.
"""

import asyncio
import base64
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import blake3
import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gp4u_protocol.messages import (
    AGENT_SOCKET_PATH,
    ActualState,
    Challenge,
    Claim,
    Desired,
    DesiredRun,
    Granted,
    Heartbeat,
    HeartbeatAck,
    Hello,
    LeaseKey,
    LogAck,
    LogChunk,
    Message,
    PlacementSpec,
    PlacementStatus,
    Proof,
    Refused,
    Rejected,
    Report,
    ReportAck,
    StandbyReport,
    StandbySpec,
    Welcome,
    challenge_bytes,
    decode_from_agent,
    join_bytes,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

DATA_KEY = base64.b64encode(bytes(range(32))).decode()


@dataclass
class Peer:
    """Script and record of the conversation."""

    name: str = field(
        default_factory=lambda: secrets.token_hex(4)
    )  # in every id, so that no two tests share one
    ttl_s: float = 3.0
    interval_s: float = 0.3
    token: str = "good-token"
    port: int = 0
    public_key: bytes = b""
    desired: dict[str, PlacementSpec] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)  # job → the epoch that is current
    claimed: set[tuple[str, int]] = field(default_factory=set)
    reports: list[Report] = field(default_factory=list)
    seen: set[tuple[str, int, int]] = field(default_factory=set)
    logs: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, PlacementStatus] = field(default_factory=dict)
    hellos: list[Hello] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    silent: bool = False  # the link is half open: everything is swallowed, nothing answered
    closed: bool = False  # nobody is let in
    reject: Rejected | None = None
    gateways: list[str] = field(default_factory=list)  # what Welcome names
    apis: list[str] = field(default_factory=list)
    sessions: int = 0
    standbys: list[StandbySpec] | None = None  # what the node is told to stand by for
    standby_reports: list[StandbyReport] = field(default_factory=list)
    read: list[str] = field(default_factory=list)  # objects of the store that were asked for, in order
    over_s: dict[str, float | None] = field(
        default_factory=dict
    )  # what the first beat said that called it over
    held_back: set[str] = field(default_factory=set)  # objects that the store does not answer for yet
    _socket: WebSocket | None = None
    last_beat_at: float = 0.0  # CLOCK_BOOTTIME of the last heartbeat that was accepted
    _beats: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def gateway_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{AGENT_SOCKET_PATH}"

    @property
    def job_id(self) -> str:
        """The job of this test."""
        return f"job_{self.name}"

    @property
    def first(self) -> str:
        """Its placement; control groups on the machine are called after it."""
        return f"pl_{self.name}_1"

    @property
    def second(self) -> str:
        """The placement after it."""
        return f"pl_{self.name}_2"

    def spec(
        self, command: str, placement_id: str | None = None, epoch: int = 1, **fields: Any
    ) -> PlacementSpec:
        """A placement that runs `command`; the first one of the job unless another is named."""
        return PlacementSpec(
            **{
                "placement_id": placement_id or self.first,
                "job_id": self.job_id,
                "epoch": epoch,
                "desired": DesiredRun.RUN,
                "job_name": "test",
                "command": command,
                "device_uuids": [],
                "cpus": 1,
                "memory_mb": 256,
                "disk_mb": 64,
                "checkpoint_path": "ckpt",
                "checkpoint_every_s": 3600,
                "stop_grace_s": 5,
                **fields,
            }
        )

    async def want(self, spec: PlacementSpec) -> None:
        """Place a job here, or change what is wanted of it."""
        self.desired[spec.placement_id] = spec
        self.epochs[spec.job_id] = max(spec.epoch, self.epochs.get(spec.job_id, 0))
        await self.tell_desired()

    async def stop(self, placement_id: str) -> None:
        spec = self.desired[placement_id]
        await self.want(spec.model_copy(update={"desired": DesiredRun.STOP, "stop_reason": "by_renter"}))

    async def supersede(self, placement_id: str) -> None:
        """The job was placed elsewhere: this epoch is over."""
        spec = self.desired.pop(placement_id)
        self.epochs[spec.job_id] = spec.epoch + 1
        self.claimed.discard((placement_id, spec.epoch))
        await self.tell_desired()

    async def tell_desired(self) -> None:
        await self.send(Desired(version=1, placements=list(self.desired.values()), standbys=self.standbys))

    async def send(self, message: Message) -> None:
        if self._socket is not None and not self.silent:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.send_text(message.model_dump_json())

    async def cut(self) -> None:
        """Close the link and let nobody in until `closed` is False again."""
        self.closed = True
        if self._socket is not None:
            with contextlib.suppress(RuntimeError):
                await self._socket.close()

    def states(self, placement_id: str) -> list[ActualState]:
        return [report.state for report in self.reports if report.placement_id == placement_id]

    def report(self, placement_id: str, state: ActualState) -> Report | None:
        return next((r for r in self.reports if r.placement_id == placement_id and r.state is state), None)

    def log(self, placement_id: str) -> str:
        return self.logs.get(placement_id, b"").decode()

    async def until(self, ask: Callable[[], Any], what: str, within_s: float = 20.0) -> Any:
        """The first truthy answer; fails with the record when there was none in time."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not (answer := ask()):
            if asyncio.get_running_loop().time() > deadline:
                said = [(r.placement_id, r.state.value, r.reason, r.detail) for r in self.reports]
                raise AssertionError(f"not within {within_s} s: {what}\nreports: {said}\nlogs: {self.logs}")
            await asyncio.sleep(0.02)
        return answer

    # --- the wire -----------------------------------------------------------------------------------------

    async def socket(self, websocket: WebSocket) -> None:
        if self.closed:
            await websocket.close()
            return
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self._converse(websocket)

    async def _converse(self, websocket: WebSocket) -> None:
        hello = decode_from_agent(await websocket.receive_text())
        assert isinstance(hello, Hello)
        await websocket.send_text(Challenge(nonce="nonce-1").model_dump_json())
        proof = decode_from_agent(await websocket.receive_text())
        assert isinstance(proof, Proof)
        rejection = self.reject
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(
                base64.b64decode(proof.signature), challenge_bytes(hello.node_id, "nonce-1")
            )
        except InvalidSignature:
            rejection = Rejected(
                code="wrong_key", detail="The proof does not fit the node's key.", retry=False
            )
        if rejection is not None:
            await websocket.send_text(rejection.model_dump_json())
            await websocket.close()
            return
        self.hellos.append(hello)
        self.sessions += 1
        self._socket = websocket
        await self.send(
            Welcome(
                protocol_version=1,
                session_id=f"session-{self.sessions}",
                heartbeat_interval_s=self.interval_s,
                lease_ttl_s=self.ttl_s,
                http_token="node-token",
                gateways=self.gateways,
                apis=self.apis,
            )
        )
        await self.tell_desired()
        while True:
            message = decode_from_agent(await websocket.receive_text())
            if not self.silent:
                await self._answer(message)

    async def _answer(self, message: Any) -> None:
        if isinstance(message, Heartbeat):
            self.last_beat_at = time.clock_gettime(time.CLOCK_BOOTTIME)
            for status in message.placements:
                if status.over:
                    self.over_s.setdefault(status.placement_id, status.over_s)
            self.statuses = {status.placement_id: status for status in message.placements}
            renewed = [
                LeaseKey(placement_id=s.placement_id, epoch=s.epoch)
                for s in message.placements
                if (s.placement_id, s.epoch) in self.claimed
            ]
            await self.send(HeartbeatAck(seq=message.seq, renewed=renewed))
            self._beats += 1
            if self._beats % 3 == 0:
                await self.tell_desired()
        elif isinstance(message, Claim):
            self.claims.append(message)
            spec = self.desired.get(message.placement_id)
            fields = {"seq": message.seq, "placement_id": message.placement_id, "epoch": message.epoch}
            if spec is None or message.epoch != self.epochs[spec.job_id]:
                await self.send(Refused(**fields, code="stale_epoch"))
            else:
                self.claimed.add((message.placement_id, message.epoch))
                await self.send(Granted(**fields, data_key=DATA_KEY))
        elif isinstance(message, Report):
            key = (message.placement_id, message.epoch, message.seq)
            spec = self.desired.get(message.placement_id)
            stale = spec is None or spec.epoch != message.epoch
            if key not in self.seen:
                self.seen.add(key)
                self.reports.append(message)
            await self.send(
                ReportAck(
                    placement_id=message.placement_id, epoch=message.epoch, seq=message.seq, stale=stale
                )
            )
        elif isinstance(message, StandbyReport):
            self.standby_reports.append(message)
            self.standbys = [
                spec.model_copy(update={"held": message.held, "ready": message.ready})
                if spec.standby_id == message.standby_id
                else spec
                for spec in self.standbys or []
            ]
        elif isinstance(message, LogChunk):
            have = self.logs.get(message.placement_id, b"")
            if message.offset <= len(have):
                self.logs[message.placement_id] = have[: message.offset] + message.text.encode()
            await self.send(
                LogAck(
                    placement_id=message.placement_id,
                    epoch=message.epoch,
                    next_offset=len(self.logs.get(message.placement_id, b"")),
                )
            )

    # --- HTTP ---------------------------------------------------------------------------------------------

    async def join(self, request: Request) -> Response:
        body = await request.json()
        public = base64.b64decode(body["public_key"])
        Ed25519PublicKey.from_public_bytes(public).verify(
            base64.b64decode(body["signature"]), join_bytes(body["token"], body["public_key"])
        )
        if body["token"] != self.token:
            document = {
                "code": "enrolment_token_invalid",
                "detail": "The enrolment token is unknown, used or expired.",
            }
            return JSONResponse(document, 401)
        self.token = "used"
        self.public_key = public
        return JSONResponse(
            {"node_id": "node_1", "name": body["name"] or "node", "gateway_urls": [self.gateway_url]}, 201
        )

    def _refuse_stranger(self, request: Request) -> Response | None:
        if request.headers.get("authorization") != "Bearer node-token":
            return JSONResponse({"code": "agent_token_invalid", "detail": "Who are you?"}, 401)
        return None

    async def upload(self, request: Request) -> Response:
        if refusal := self._refuse_stranger(request):
            return refusal
        upload_id = request.path_params["id"]
        content = self.uploads.get(upload_id)
        if content is None:
            return JSONResponse({"code": "not_found", "detail": "No such upload."}, 404)
        self.objects[upload_id] = content
        return JSONResponse(
            {
                "url": f"/store/{upload_id}",
                "size_bytes": len(content),
                "blake3": blake3.blake3(content).hexdigest(),
            }
        )

    async def standby(self, request: Request) -> Response:
        if refusal := self._refuse_stranger(request):
            return refusal
        spec = next(s for s in self.standbys or [] if s.standby_id == request.path_params["id"])
        row = next(
            (r for r in self.checkpoints if spec.checkpoint and r["id"] == spec.checkpoint.checkpoint_id),
            None,
        )
        folder = None
        if spec.upload_id is not None:
            self.objects[spec.upload_id] = content = self.uploads[spec.upload_id]
            folder = {
                "url": f"/store/{spec.upload_id}",
                "size_bytes": len(content),
                "blake3": blake3.blake3(content).hexdigest(),
            }
        return JSONResponse(
            {
                "checkpoint_id": row and row["id"],
                "epoch": row and row["epoch"],
                "seq": row and row["seq"],
                "manifest_url": row and f"/store/{row['manifest']}",
                "manifest_blake3": row and row["manifest_blake3"],
                "packs": {pack: f"/store/{pack}" for pack in row["packs"]} if row else {},
                "folder": folder,
            }
        )

    async def store(self, request: Request) -> Response:
        key = request.path_params["key"]
        assert "authorization" not in request.headers, "the node's token must not reach the store"
        if request.method == "PUT":
            self.objects[key] = await request.body()
            return Response(status_code=200)
        self.read.append(key)
        while key in self.held_back:
            await asyncio.sleep(0.02)
        content = self.objects[key]
        if ranged := request.headers.get("range"):
            start, _, end = ranged.removeprefix("bytes=").partition("-")
            return Response(content[int(start) : int(end) + 1 if end else None], 206)
        return Response(content)

    def _fenced(self, placement_id: str, epoch: int) -> Response | None:
        spec = self.desired.get(placement_id)
        if spec is None or spec.epoch != epoch or self.epochs[spec.job_id] != epoch:
            return JSONResponse({"code": "stale_epoch", "detail": "Another epoch owns the job."}, 409)
        return None

    async def checkpoint(self, request: Request) -> Response:
        if refusal := self._refuse_stranger(request):
            return refusal
        path = request.path_params["path"]
        if request.method == "GET":
            query = request.query_params
            if refusal := self._fenced(query["placement_id"], int(query["epoch"])):
                return refusal
            if path == "":
                return JSONResponse({"items": list(reversed(self.checkpoints))})
            row = next(row for row in self.checkpoints if f"/{row['id']}/download" == path)
            packs = {pack: f"/store/{pack}" for pack in row["packs"]}
            return JSONResponse({**row, "manifest_url": f"/store/{row['manifest']}", "packs": packs})
        body = await request.json()
        if refusal := self._fenced(body["placement_id"], body["epoch"]):
            return refusal
        if path.endswith("/damaged"):
            next(row for row in self.checkpoints if f"/{row['id']}/damaged" == path)["damaged"] = True
            return Response(status_code=204)
        if path == "/open":
            number = len(self.checkpoints) + 1
            return JSONResponse({"upload_id": f"upload-{number}", "seq": number}, 201)
        if path == "/packs":
            return JSONResponse(
                {"packs": [{"id": p["id"], "url": f"/store/{p['id']}", "headers": {}} for p in body["packs"]]}
            )
        if path == "/manifest":
            return JSONResponse({"url": f"/store/manifest-{body['upload_id']}", "headers": {}})
        assert path == "/commit", path
        row = {
            "id": f"checkpoint-{len(self.checkpoints) + 1}",
            "epoch": body["epoch"],
            "seq": len(self.checkpoints) + 1,
            "manifest_blake3": body["blake3"],
            "manifest": f"manifest-{body['upload_id']}",
            "packs": [pack["id"] for pack in body["packs"]],
            "step": body["step"],
            "trigger": body["trigger"],
        }
        if body.get("transparent"):
            row["transparent"] = {"signed_by": base64.b64encode(self.public_key).decode()}
        self.checkpoints.append(row)
        return JSONResponse({"id": row["id"]}, 201)


@contextlib.asynccontextmanager
async def serve(peer: Peer) -> AsyncIterator[Peer]:
    """Run the peer on a port of its own."""
    app = Starlette(
        routes=[
            WebSocketRoute(AGENT_SOCKET_PATH, peer.socket),
            Route("/api/v1/agent/join", peer.join, methods=["POST"]),
            Route("/api/v1/agent/uploads/{id}", peer.upload),
            Route("/api/v1/agent/checkpoints{path:path}", peer.checkpoint, methods=["GET", "POST"]),
            Route("/api/v1/agent/standbys/{id}/download", peer.standby),
            Route("/store/{key:path}", peer.store, methods=["GET", "PUT"]),
        ]
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    peer.port = listener.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", ws_ping_interval=None, timeout_graceful_shutdown=1)
    )
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield peer
    finally:
        server.should_exit = True
        await task
        listener.close()
