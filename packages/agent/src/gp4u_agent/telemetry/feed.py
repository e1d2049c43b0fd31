"""Takes samples and sends them, beside everything else that the agent does."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gp4u_protocol.messages import AgentMessage
from gp4u_protocol.telemetry import SAMPLES_MAX, DeviceSample, NodeSample, Telemetry, XidEvent

from gp4u_agent.facts import machine
from gp4u_agent.telemetry.disks import DiskMeter
from gp4u_agent.telemetry.link import LinkMeter, LinkReading
from gp4u_agent.telemetry.port import DeviceSampler, XidSeen

LOOK_S = 1.0
"""How often it looks for XIDs, which are sent at once."""
KEPT_MAX = SAMPLES_MAX
"""Samples kept for a gateway that is away: five minutes of them. The oldest go first."""
XIDS_KEPT_MAX = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Taken:
    """A sample and when it was taken (monotonic seconds)."""

    sample: NodeSample
    xids: tuple[XidSeen, ...]
    at_s: float

    def told(self, now_s: float) -> NodeSample:
        """With ages as of now."""
        xids = [
            XidEvent(code=xid.code, uuid=xid.uuid, age_s=now_s - xid.at_s, detail=xid.detail)
            for xid in self.xids
        ]
        return self.sample.model_copy(update={"age_s": max(0.0, now_s - self.at_s), "xids": xids})


class TelemetryFeed:
    """Runs for the agent's whole life; sends only where the gateway asked for it."""

    def __init__(
        self,
        sampler: DeviceSampler,
        folder: Path,
        *,
        busy: Callable[[], Set[str]],
        send: Callable[[Callable[[], AgentMessage]], None],
        connected: Callable[[], bool],
    ) -> None:
        self.link = LinkMeter()
        self._sampler = sampler
        self._folder = folder
        self._busy = busy
        self._send = send
        self._connected = connected
        self._disks = DiskMeter()
        self._every_s: float | None = None
        self._kept: deque[_Taken] = deque(maxlen=KEPT_MAX)
        self._xids: deque[XidSeen] = deque(maxlen=XIDS_KEPT_MAX)
        self._due_s = 0.0

    def welcomed(self, every_s: float | None) -> None:
        """A session began; None: this gateway knows no telemetry."""
        self._every_s = every_s
        self.link.began()

    async def run(self) -> None:
        """Until cancelled. A sampler that fails is asked again; one that hangs delays readings and nothing else."""
        while True:
            try:
                await self._look()
            except Exception:
                log.exception("no readings")
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        self._xids.extend(await asyncio.to_thread(self._sampler.xids))
        now_s = time.monotonic()
        due = now_s >= self._due_s
        if due or self._xids:
            await self._take(now_s, due=due)
        if self._kept and self._connected() and self._every_s is not None:
            batch = list(self._kept)
            self._kept.clear()
            self._send(lambda: _message(batch))

    async def _take(self, now_s: float, *, due: bool) -> None:
        devices: list[DeviceSample] = []
        xids = tuple(self._xids)
        self._xids.clear()
        try:
            devices = await asyncio.to_thread(self._sampler.sample, self._busy())
        finally:
            # XIDs are told even where the GPUs cannot be read any more: that is what they are about.
            link = self.link.take(now_s) if due else LinkReading(None, None, None)
            disk = self._disks.take(now_s) if due else None
            sample = NodeSample(
                load_1m=machine.load_1m(),
                memory_used_mb=machine.memory_used_mb(),
                disk_free_mb=machine.disk_free_mb(self._folder),
                disk_read_mb_s=disk.read_mb_s if disk else None,
                disk_write_mb_s=disk.write_mb_s if disk else None,
                disk_latency_ms=disk.latency_ms if disk else None,
                rtt_ms=link.rtt_ms,
                jitter_ms=link.jitter_ms,
                loss_percent=link.loss_percent,
                devices=devices,
            )
            self._kept.append(_Taken(sample, xids, time.monotonic()))
            if due:
                self._due_s = now_s + (self._every_s or 10.0)


def _message(batch: list[_Taken]) -> Telemetry:
    """Made right before it is sent, so that the ages are true."""
    now_s = time.monotonic()
    return Telemetry(agent_clock=datetime.now(UTC), samples=[taken.told(now_s) for taken in batch])
