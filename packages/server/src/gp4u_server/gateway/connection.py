"""One agent's WebSocket after the handshake.

Heartbeats are answered by the reader itself, from memory. Everything that needs the database (claims, reports, logs,
the wanted state) goes through one bounded queue and one task, in order; what does not fit is dropped, because the
agent sends it again until it is acknowledged.
"""

import asyncio
import base64
import contextlib
from functools import partial
from typing import Literal

import structlog
from gp4u_protocol.lease_core import LeaseId
from gp4u_protocol.messages import (
    PROTOCOL_VERSION,
    Claim,
    Desired,
    Granted,
    Heartbeat,
    HeartbeatAck,
    LeaseKey,
    LogAck,
    LogChunk,
    Message,
    PlacementStatus,
    Progress,
    Refused,
    Report,
    ReportAck,
    StandbyReport,
    StandbySpec,
    Token,
    Welcome,
)
from gp4u_protocol.telemetry import Telemetry
from starlette.websockets import WebSocket

from gp4u_server.catalyst.jobs.errors import StaleEpoch
from gp4u_server.catalyst.jobs.service import LeasedPlacement
from gp4u_server.gateway.decisions import desired_is_due
from gp4u_server.gateway.handshake import Proven, Refusal, next_message
from gp4u_server.gateway.hub import Hub
from gp4u_server.nodes.tokens import AGENT_TOKEN_LIFETIME_S

log = structlog.get_logger(__name__)

OUTGOING_MAX = 256
WORK_MAX = 128
IDLE_S_MAX = 60.0
"""A socket without a frame for this long is closed: its node was lost long ago."""
TOKEN_RENEW_S = AGENT_TOKEN_LIFETIME_S / 3
LIVE_TTL_S = 60
OVER_S_MAX = 7 * 86_400.0
"""A node's word for how long a process has been over is not believed beyond this."""
FINISH_S = 15.0
"""What the worker is at when the socket closes may take this long to end; the database itself gives up before."""
END_S = 2.0
END_ATTEMPTS = 5


class _Refresh:
    """Work: read the wanted state and send it."""


class _FirstStep:
    """Work: a recovered job went past its old step."""

    def __init__(self, placement_id: str, epoch: int, progress: Progress) -> None:
        self.placement_id = placement_id
        self.epoch = epoch
        self.progress = progress


_Work = Claim | Report | LogChunk | StandbyReport | _Refresh | _FirstStep


class Connection:
    """Serves one session until the socket closes."""

    ttl_s: float
    """What the session begins with; answers carry their own."""

    def __init__(self, hub: Hub, websocket: WebSocket, proven: Proven, session_id: str) -> None:
        self.hub = hub
        self.websocket = websocket
        self.node_id = proven.node_id
        self.session_id = session_id
        self.ttl_s = hub.lease_ttl_s
        self.session_no = proven.connected.session_no
        self.version = proven.connected.desired_version
        self._placements = {item.spec.placement_id: item for item in proven.connected.placements}
        self._standbys: list[StandbySpec] | None = proven.standbys
        self._progress: dict[str, Progress] = {}
        self._first_steps_told: set[str] = set()
        # Placement → when a beat first said that its process is over; of those that are still reported.
        self._over_since: dict[str, float] = {}
        self._ran_at: dict[str, float] = {}  # when a beat last said that it was not over
        self._outgoing: asyncio.Queue[Message] = asyncio.Queue(OUTGOING_MAX)
        self._work: asyncio.Queue[_Work] = asyncio.Queue(WORK_MAX)
        self._refresh_waits = False
        self._closing: tuple[int, str] | None = None
        self._closed = asyncio.Event()
        self._at_work: asyncio.Task[None] | None = None
        self._token_due = 0.0
        self._desired_sent_at = 0.0

    # --- what the hub calls --------------------------------------------------------------------------------

    def wants_refresh(self) -> None:
        """Read the node's wanted state again and send it."""
        if self._refresh_waits:
            return
        try:
            self._work.put_nowait(_Refresh())
            self._refresh_waits = True
        except asyncio.QueueFull:
            self.hub.metrics.dropped.labels(kind="refresh").inc()
            self.hub.poll.look_again(self.node_id)

    def close(self, code: int, reason: str) -> None:
        """End the connection soon."""
        if self._closing is None:
            self._closing = (code, reason)
            self._closed.set()

    @property
    def closing(self) -> bool:
        """Whether it was told to end."""
        return self._closing is not None

    def progress(self) -> dict[str, Progress]:
        """The last progress heard of each placement."""
        return dict(self._progress)

    # --- life ----------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Until the socket closes, either side wants it closed, or nothing was heard for long."""
        now = self.hub.clock.monotonic_s()
        self._token_due = now + TOKEN_RENEW_S
        self._send(
            Welcome(
                protocol_version=PROTOCOL_VERSION,
                session_id=self.session_id,
                heartbeat_interval_s=self.hub.heartbeat_interval_s,
                lease_ttl_s=self.ttl_s,
                http_token=self.hub.tokens.mint(self.node_id),
                gateways=self.hub.gateway_urls,
                apis=self.hub.api_urls,
                telemetry_every_s=self.hub.telemetry.every_s if self.hub.telemetry else None,
            )
        )
        self._send_desired()
        tasks = [
            asyncio.create_task(coroutine, name=f"{name}-{self.node_id}")
            for name, coroutine in (
                ("reader", self._read()),
                ("sender", self._write()),
                ("worker", self._work_off()),
                ("closer", self._closed.wait()),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end(tasks)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _end(self, tasks: list[asyncio.Task[Literal[True] | None]]) -> None:
        """End the loops, but let the write that is under way come to its end: to stop one in the middle takes the database
        longer than to finish it, and an agent whose commit was cut off would not know what became of it."""
        for _ in range(END_ATTEMPTS):
            # More than once, as a cancellation that meets a result can get lost on Python 3.11.
            for task in tasks:
                task.cancel()
            _, left = await asyncio.wait(tasks, timeout=END_S)
            if not left:
                break
        if self._at_work is not None and not self._at_work.done():
            _, left = await asyncio.wait({self._at_work}, timeout=FINISH_S)
            if left:
                log.warning("agent_message_abandoned", node_id=self.node_id)
                self._at_work.cancel()
                await asyncio.wait(left, timeout=FINISH_S)

    @property
    def close_code(self) -> tuple[int, str]:
        """What to close the socket with."""
        return self._closing or (1000, "")

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_S_MAX):
                    message = await next_message(self.websocket)
            except TimeoutError:
                self.close(1001, "nothing was heard for long")
                return
            now = self.hub.clock.monotonic_s()
            if isinstance(message, Heartbeat):
                self._heartbeat(message, now)
            elif isinstance(message, Claim):
                if self.hub.claim_received(self.node_id, self.session_id):
                    self._enqueue(message)
            elif isinstance(message, Report | LogChunk | StandbyReport):
                self._enqueue(message)
            elif isinstance(message, Telemetry):
                if self.hub.telemetry is not None:
                    self.hub.telemetry.add(self.node_id, message)
            else:
                raise Refusal("unexpected_message", f"{message.type} has no place here.", retry=True)

    async def _write(self) -> None:
        while True:
            message = await self._outgoing.get()
            await self.websocket.send_text(message.model_dump_json())

    def _send(self, message: Message) -> None:
        try:
            self._outgoing.put_nowait(message)
        except asyncio.QueueFull:
            self.close(1008, "the agent reads too slowly")

    def _enqueue(self, work: _Work) -> None:
        try:
            self._work.put_nowait(work)
        except asyncio.QueueFull:
            self.hub.metrics.dropped.labels(kind=type(work).__name__).inc()

    # --- heartbeats ----------------------------------------------------------------------------------------

    def _heartbeat(self, beat: Heartbeat, now: float) -> None:
        reported = [LeaseId(status.placement_id, status.epoch) for status in beat.placements]
        result = self.hub.table.beat(self.node_id, self.session_id, reported, now, beat.seq, beat.acked_seq)
        if result is None:
            self.close(4001, "superseded by a newer connection")
            return
        renewed, back, ttl_s = result
        self._send(
            HeartbeatAck(
                seq=beat.seq,
                renewed=[LeaseKey(placement_id=lease.placement_id, epoch=lease.epoch) for lease in renewed],
                ttl_s=ttl_s,
            )
        )
        self.hub.metrics.beats.inc()
        self.hub.metrics.renewals.inc(len(renewed))
        if back is not None:
            self.hub.write_change(back)
        for status in beat.placements:
            self._status(status, beat)
            self._note_end(status, now)
        self._say_desired_again(reported, now)
        if now >= self._token_due:
            self._token_due = now + TOKEN_RENEW_S
            self._send(Token(http_token=self.hub.tokens.mint(self.node_id)))

    def _note_end(self, status: PlacementStatus, now: float) -> None:
        """Since when its process is over. The node's word for what it could not tell us in time; never before we last heard that it ran."""
        if not status.over:
            self._ran_at[status.placement_id] = now
        elif status.placement_id not in self._over_since:
            told = now - min(status.over_s or 0.0, OVER_S_MAX)
            self._over_since[status.placement_id] = max(told, self._ran_at.get(status.placement_id, told))

    def _say_desired_again(self, reported: list[LeaseId], now: float) -> None:
        """Offers are repeated until claimed, and orders to kill until obeyed."""
        wanted = {LeaseId(item.spec.placement_id, item.spec.epoch) for item in self._placements.values()}
        if desired_is_due(wanted, reported, now - self._desired_sent_at):
            self._send_desired()

    def _send_desired(self) -> None:
        self._desired_sent_at = self.hub.clock.monotonic_s()
        self._send(
            Desired(
                version=self.version,
                placements=[item.spec for item in self._placements.values()],
                standbys=self._standbys,
            )
        )

    def _status(self, status: PlacementStatus, beat: Heartbeat) -> None:
        item = self._placements.get(status.placement_id)
        if item is None or item.spec.epoch != status.epoch:
            return
        if status.progress is not None:
            self._progress[status.placement_id] = status.progress
            if (
                item.wants_first_step
                and status.placement_id not in self._first_steps_told
                and status.progress.step > (item.step_before or 0)
            ):
                self._first_steps_told.add(status.placement_id)
                self._enqueue(_FirstStep(status.placement_id, status.epoch, status.progress))
        if status.usage is not None or status.progress is not None:
            self.hub.publish(partial(self._publish, item, status, beat))

    async def _publish(self, item: LeasedPlacement, status: PlacementStatus, beat: Heartbeat) -> None:
        mine = {device.uuid: device for device in beat.health.devices}
        readings = [
            mine[uuid].utilisation_percent
            for uuid in item.spec.device_uuids
            if uuid in mine and mine[uuid].utilisation_percent is not None
        ]
        point = {
            # Ours: the agent's clock may be a day off.
            "at": self.hub.clock.now().isoformat(),
            "cpu_percent": status.usage.cpu_percent if status.usage else 0.0,
            "memory_mb": status.usage.memory_mb if status.usage else 0.0,
            "gpu_utilisation_percent": sum(r for r in readings if r is not None) / len(readings)
            if readings
            else None,
            "step": status.progress.step if status.progress else None,
            "total_steps": status.progress.total_steps if status.progress else None,
            "metrics": status.progress.metrics if status.progress else {},
        }
        await self.hub.streams.remember(f"live:{item.spec.job_id}", point, LIVE_TTL_S)
        await self.hub.streams.wake([(item.spec.job_id, {"topic": "job.metrics", "payload": point})])

    # --- work with the database ------------------------------------------------------------------------------

    async def _work_off(self) -> None:
        while True:
            work = await self._work.get()
            if isinstance(work, _Refresh):
                self._refresh_waits = False
            self._at_work = asyncio.create_task(self._do(work), name=f"work-{self.node_id}")
            try:
                await asyncio.shield(self._at_work)
            except Exception as error:
                # Not acknowledged, so the agent sends it again; a refresh is asked for again by the poll.
                self.hub.poll.look_again(self.node_id)
                self.hub.metrics.write_failures.inc()
                log.warning(
                    "agent_message_failed", node_id=self.node_id, kind=type(work).__name__, error=repr(error)
                )
                await asyncio.sleep(0.1)

    async def _do(self, work: _Work) -> None:
        if isinstance(work, Claim):
            await self._claim(work)
        elif isinstance(work, Report):
            await self._report(work)
        elif isinstance(work, LogChunk):
            await self._log(work)
        elif isinstance(work, StandbyReport):
            if self.hub.standbys is not None:
                async with self.hub.database.transaction() as session:
                    await self.hub.standbys.record_report(session, self.node_id, work)
        elif isinstance(work, _FirstStep):
            with contextlib.suppress(StaleEpoch):
                async with self.hub.database.transaction() as session:
                    await self.hub.jobs.record_first_step(
                        session, work.placement_id, work.epoch, work.progress
                    )
        else:
            await self._refresh()

    async def _refresh(self) -> None:
        async with self.hub.database.transaction() as session:
            # The version first: a change in between is then read with an older version, and asked for again.
            version = await self.hub.nodes.desired_version(session, self.node_id)
            placements = await self.hub.jobs.live_on_node(session, self.node_id)
            if self.hub.standbys is not None:
                self._standbys = await self.hub.standbys.wanted_on_node(session, self.node_id)
        self.version = version
        self._placements = {item.spec.placement_id: item for item in placements}
        self.hub.table.keep_only(
            self.node_id, {LeaseId(item.spec.placement_id, item.spec.epoch) for item in placements}
        )
        for gone in self._progress.keys() - self._placements.keys():
            del self._progress[gone]
        for known in (self._over_since, self._ran_at):
            for gone in known.keys() - self._placements.keys():
                del known[gone]
        self._send_desired()

    async def _claim(self, claim: Claim) -> None:
        try:
            async with self.hub.database.transaction() as session:
                data_key = await self.hub.jobs.record_claim(
                    session, self.node_id, claim.placement_id, claim.epoch
                )
        except StaleEpoch as error:
            self.hub.metrics.refused.labels(code=error.code).inc()
            self._send(
                Refused(seq=claim.seq, placement_id=claim.placement_id, epoch=claim.epoch, code=error.code)
            )
            return
        now = self.hub.clock.monotonic_s()
        lease = LeaseId(claim.placement_id, claim.epoch)
        if not self.hub.table.granted(self.node_id, self.session_id, lease, now):
            return  # lost, superseded or without authority meanwhile: the agent claims again where it is served
        self._send(
            Granted(
                seq=claim.seq,
                placement_id=claim.placement_id,
                epoch=claim.epoch,
                data_key=base64.b64encode(data_key).decode(),
                ttl_s=self.hub.table.ttl_of(self.node_id),
            )
        )

    async def _report(self, report: Report) -> None:
        async with self.hub.database.transaction() as session:
            over_since = self._over_since.get(report.placement_id)
            over_s = 0.0 if over_since is None else self.hub.clock.monotonic_s() - over_since
            ack: ReportAck = await self.hub.jobs.record_report(session, self.node_id, report, over_s=over_s)
        if ack.stale:
            self.hub.metrics.refused.labels(code="stale_epoch").inc()
        self._send(ack)

    async def _log(self, chunk: LogChunk) -> None:
        try:
            async with self.hub.database.transaction() as session:
                next_offset = await self.hub.jobs.append_log(
                    session, self.node_id, chunk.placement_id, chunk.epoch, chunk.offset, chunk.text
                )
        except StaleEpoch as error:
            # Nothing is stored; the acknowledgement only makes the agent forget it.
            self.hub.metrics.refused.labels(code=error.code).inc()
            next_offset = chunk.offset + len(chunk.text.encode("utf-8", "replace"))
        self._send(LogAck(placement_id=chunk.placement_id, epoch=chunk.epoch, next_offset=next_offset))
        if item := self._placements.get(chunk.placement_id):
            self.hub.publish(
                partial(self.hub.streams.wake, [(item.spec.job_id, {"topic": "job.log_grew", "payload": {}})])
            )
