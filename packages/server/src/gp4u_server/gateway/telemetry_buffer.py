"""Readings on their way from the agents to PostgreSQL: gathered in memory, written by COPY every few seconds.

No heartbeat and no reading costs a write of its own. Memory is bounded: while the database is away the oldest readings
are dropped and counted, and nothing else of the gateway notices. Signs of failing devices are told from the readings as
they pass (`catalyst.telemetry.signs`), and events are written before readings, at once.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

import structlog
from gp4u_protocol.telemetry import DeviceSample, NodeSample, Telemetry, XidEvent
from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy.exc import DataError, IntegrityError

from gp4u_server.catalyst.telemetry.metrics import OF_NODE
from gp4u_server.catalyst.telemetry.repository import SampleRow
from gp4u_server.catalyst.telemetry.service import STORE_S_MAX, TelemetryService
from gp4u_server.catalyst.telemetry.signs import DeviceMemory, Sign, observe, remembered, xid_sign
from gp4u_server.catalyst.telemetry.types import DeviceEvent
from gp4u_server.kit.clock import Clock
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import new_id

log = structlog.get_logger(__name__)

FLUSH_S = 5.0
BATCH_ROWS = 5_000
ROWS_MAX = 100_000
EVENTS_MAX = 2_000
RETRY_S = 1.0
SAMPLE_AGE_MAX = timedelta(hours=1)
"""Older ones are dropped: partitions stand two hours back (`partitions.BEHIND`)."""
BASELINE_AGE = timedelta(minutes=15)
UNSEEN_MAX = 64
XID_AGAIN_S = 10.0
"""A driver may repeat an XID a thousand times a second; each device's is written once in this time."""
FORGET_S = 3_600.0


@dataclass
class _Watched:
    """What is remembered of one node."""

    devices: dict[str, DeviceMemory] = field(default_factory=dict)
    xids_at: dict[tuple[str | None, int], float] = field(default_factory=dict)
    seen_at: float = 0.0


class TelemetryBuffer:
    """One per gateway. `add` never waits; `run` writes until it is cancelled."""

    def __init__(
        self,
        database: Database,
        service: TelemetryService,
        clock: Clock,
        registry: CollectorRegistry,
        *,
        every_s: float,
        rows_max: int = ROWS_MAX,
    ) -> None:
        self.every_s = every_s
        self._database = database
        self._service = service
        self._clock = clock
        self._rows_max = rows_max
        self._rows: deque[SampleRow] = deque()
        self._events: deque[DeviceEvent] = deque()
        self._nodes: dict[str, _Watched] = {}
        # Nodes that this gateway has not seen yet: their last stored readings are wanted first.
        self._unseen: dict[str, list[tuple[DeviceSample, float, datetime]]] = {}
        self._urgent = asyncio.Event()
        self.written = Counter("gp4u_gateway_telemetry_rows", "Readings written", registry=registry)
        self.dropped = Counter(
            "gp4u_gateway_telemetry_dropped",
            "Readings and events that were not kept, by reason",
            ["reason"],
            registry=registry,
        )
        self.waiting = Gauge("gp4u_gateway_telemetry_waiting", "Readings not written yet", registry=registry)
        self.signs = Counter(
            "gp4u_gateway_device_events", "Device events, by kind", ["kind"], registry=registry
        )

    # --- from the connections ------------------------------------------------------------------------------

    def add(self, node_id: str, message: Telemetry) -> None:
        """Take a batch in."""
        now, now_s = self._clock.now(), self._clock.monotonic_s()
        watched = self._nodes.get(node_id)
        for sample in message.samples:
            offset_ms = _clock_offset_ms(message.agent_clock, sample.rtt_ms, now)
            age = timedelta(seconds=sample.age_s)
            if age < SAMPLE_AGE_MAX:
                self._rows.extend(_rows(node_id, sample, now - age, offset_ms))
            else:
                self.dropped.labels(reason="old").inc(1 + len(sample.devices))
            for device in sample.devices:
                seen = (device, now_s - sample.age_s, now)
                if watched is not None:
                    self._observe(node_id, watched, *seen)
                elif len(unseen := self._unseen.setdefault(node_id, [])) < UNSEEN_MAX:
                    unseen.append(seen)
            for xid in sample.xids:
                self._xid(node_id, xid, now, now_s)
        if watched is not None:
            watched.seen_at = now_s
        self._bound()

    def _observe(
        self, node_id: str, watched: _Watched, sample: DeviceSample, at_s: float, received_at: datetime
    ) -> None:
        memory = watched.devices.get(sample.uuid, DeviceMemory())
        if sample.uuid not in watched.devices and len(watched.devices) >= UNSEEN_MAX:
            return
        watched.devices[sample.uuid], signs = observe(memory, sample, at_s)
        age = timedelta(seconds=max(0.0, self._clock.monotonic_s() - at_s))
        for sign in signs:
            self._sign(node_id, sample.uuid, sign, received_at, self._clock.now() - age)

    def _xid(self, node_id: str, event: XidEvent, now: datetime, now_s: float) -> None:
        watched = self._nodes.get(node_id)
        if watched is not None:
            last = watched.xids_at.get((event.uuid, event.code))
            if last is not None and now_s - last < XID_AGAIN_S:
                return
            if len(watched.xids_at) >= UNSEEN_MAX:
                watched.xids_at.clear()
            watched.xids_at[event.uuid, event.code] = now_s
        self._sign(node_id, event.uuid, xid_sign(event), now, now - timedelta(seconds=event.age_s))

    def _sign(
        self, node_id: str, device_uuid: str | None, sign: Sign, received_at: datetime, at: datetime
    ) -> None:
        self.signs.labels(kind=sign.kind).inc()
        self._events.append(
            DeviceEvent(
                id=new_id("devt"),
                node_id=node_id,
                device_uuid=device_uuid,
                kind=sign.kind,
                code=sign.code,
                severity=sign.severity,
                occurred_at=min(at, received_at),
                received_at=received_at,
                detail={**sign.detail, "sentence": sign.sentence},
            )
        )
        self._urgent.set()

    def _bound(self) -> None:
        while len(self._rows) > self._rows_max:
            self._rows.popleft()
            self.dropped.labels(reason="full").inc()
        while len(self._events) > EVENTS_MAX:
            self._events.popleft()
            self.dropped.labels(reason="events_full").inc()
        self.waiting.set(len(self._rows))

    # --- to the database -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write every few seconds, and at once when a device shows a sign."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), FLUSH_S)
            self._urgent.clear()
            if not await self.flush():
                await asyncio.sleep(RETRY_S)

    async def flush(self) -> bool:
        """Write what waits. False: the database did not take all of it; what is left is tried again."""
        try:
            await self._meet_nodes()
            await self._write_events()
            while self._rows:
                await self._write_rows()
        except Exception as error:
            log.warning("telemetry_not_written", waiting=len(self._rows), error=repr(error))
            return False
        finally:
            self._bound()
            self._forget()
        return True

    async def _meet_nodes(self) -> None:
        """Begin to watch nodes that are new here, from their last stored readings."""
        if not self._unseen:
            return
        async with asyncio.timeout(STORE_S_MAX), self._database.transaction() as session:
            known = await self._service.baselines(session, list(self._unseen), BASELINE_AGE)
        for node_id, devices in known.items():
            watched = self._nodes[node_id] = _Watched(seen_at=self._clock.monotonic_s())
            watched.devices = {uuid: remembered(values) for uuid, values in devices.items()}
            for seen in self._unseen.pop(node_id, []):
                self._observe(node_id, watched, *seen)

    async def _write_events(self) -> None:
        while self._events:
            # One at a time: each is a transaction about one node, and one that fails holds back no other for long.
            event = self._events[0]
            try:
                async with asyncio.timeout(STORE_S_MAX), self._database.transaction() as session:
                    await self._service.record(session, [event])
            except (DataError, IntegrityError):
                self.dropped.labels(reason="refused").inc()
                log.exception("device_event_refused", node_id=event.node_id, kind=event.kind)
            if self._events and self._events[0] is event:  # not if it was dropped meanwhile
                self._events.popleft()

    async def _write_rows(self) -> None:
        batch = list(islice(self._rows, BATCH_ROWS))
        for _ in batch:
            self._rows.popleft()
        try:
            async with asyncio.timeout(STORE_S_MAX), self._database.transaction() as session:
                await self._service.store(session, batch)
        except DataError:
            # Nothing that is wrong with a reading gets better by waiting.
            self.dropped.labels(reason="refused").inc(len(batch))
            log.exception("telemetry_refused", rows=len(batch))
        except BaseException:
            self._rows.extendleft(reversed(batch))
            raise
        else:
            self.written.inc(len(batch))

    def _forget(self) -> None:
        horizon = self._clock.monotonic_s() - FORGET_S
        for node_id in [node_id for node_id, watched in self._nodes.items() if watched.seen_at < horizon]:
            del self._nodes[node_id]


def _clock_offset_ms(agent_clock: datetime | None, rtt_ms: float | None, now: datetime) -> float | None:
    """How far the agent's clock is ahead of ours, half a round trip allowed for its way here."""
    if agent_clock is None or agent_clock.tzinfo is None:
        return None
    return (agent_clock - now).total_seconds() * 1000 + (rtt_ms or 0.0) / 2


def _rows(node_id: str, sample: NodeSample, at: datetime, offset_ms: float | None) -> Iterable[SampleRow]:
    """In the positions of `catalyst.telemetry.metrics`."""
    yield SampleRow(
        at,
        node_id,
        OF_NODE,
        (
            sample.load_1m,
            sample.memory_used_mb,
            sample.disk_free_mb,
            sample.disk_read_mb_s,
            sample.disk_write_mb_s,
            sample.disk_latency_ms,
            sample.rtt_ms,
            sample.jitter_ms,
            sample.loss_percent,
            offset_ms,
        ),
    )
    for device in sample.devices:
        xids = sum(xid.uuid == device.uuid for xid in sample.xids)
        yield SampleRow(at, node_id, device.uuid, _device_values(device, xids))


def _device_values(device: DeviceSample, xids: int) -> tuple[float | None, ...]:
    return (
        device.utilisation_percent,
        device.memory_used_mb,
        device.temperature_c,
        device.power_w,
        device.sm_clock_mhz,
        device.memory_clock_mhz,
        _flag(device.throttle_reasons, "sw_thermal", "hw_thermal"),
        _flag(device.throttle_reasons, "sw_power_cap"),
        _flag(device.throttle_reasons, "hw_thermal", "hw_power_brake", "hw_slowdown"),
        device.ecc_corrected,
        device.ecc_uncorrected,
        device.retired_pages,
        device.row_remaps,
        None if device.row_remap_failure is None else float(device.row_remap_failure),
        device.pcie_gen,
        device.pcie_width,
        device.pcie_replays,
        float(xids),
    )


def _flag(reasons: list[str] | None, *names: str) -> float | None:
    return None if reasons is None else float(any(name in reasons for name in names))
