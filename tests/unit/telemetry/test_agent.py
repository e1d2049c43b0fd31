"""The agent's readings: the network as heartbeats see it, disks, the kernel's log, NVML's answers, the simulated fleet."""

import asyncio
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from gp4u_agent.facts.simulated import SimulatedDevice, SimulationSpec, devices
from gp4u_agent.telemetry.disks import DiskMeter
from gp4u_agent.telemetry.feed import KEPT_MAX, TelemetryFeed
from gp4u_agent.telemetry.kernel_log import KernelLog, parse
from gp4u_agent.telemetry.link import LinkMeter
from gp4u_agent.telemetry.nvml import NvmlSampler, once
from gp4u_agent.telemetry.port import NoDevices, XidSeen
from gp4u_agent.telemetry.simulated import FAULTS_FILE, SimulatedSampler
from gp4u_protocol.messages import AgentMessage
from gp4u_protocol.telemetry import SAMPLES_MAX, Telemetry

SPEC = SimulationSpec(devices=[SimulatedDevice(model="RTX_4090", vram_gb=24, count=2)])


def test_the_link_is_what_heartbeats_say() -> None:
    meter = LinkMeter()
    for seq, took in enumerate((0.010, 0.030, 0.020, 2.5)):
        meter.sent(seq, float(seq))
        meter.answered(seq, seq + took)
    meter.sent(4, 4.0)  # never answered
    meter.sent(5, 6.9)  # on its way
    reading = meter.take(7.0)
    assert reading.rtt_ms == pytest.approx(25)
    assert reading.jitter_ms == pytest.approx((20 + 10 + 2480) / 3, abs=0.01)
    assert reading.loss_percent == 40.0  # two of five
    meter.answered(5, 7.1)
    assert meter.take(8.0).loss_percent == 0.0
    assert meter.take(9.0).rtt_ms is None
    meter.sent(6, 9.0)
    meter.began()  # the connection broke
    assert meter.take(9.5).loss_percent == 100.0


def test_disks_tell_rates_and_never_go_backwards() -> None:
    told = {
        "read_bytes": 0,
        "write_bytes": 0,
        "read_count": 0,
        "write_count": 0,
        "read_time": 0,
        "write_time": 0,
    }
    meter = DiskMeter(lambda: SimpleNamespace(**told))
    assert meter.take(0.0).read_mb_s is None
    told.update(
        read_bytes=20 << 20, write_bytes=10 << 20, read_count=5, write_count=5, read_time=30, write_time=20
    )
    reading = meter.take(10.0)
    assert (reading.read_mb_s, reading.write_mb_s, reading.latency_ms) == (2.0, 1.0, 5.0)
    told.update(read_bytes=0)
    assert meter.take(20.0).read_mb_s is None
    assert DiskMeter(lambda: None).take(1.0).write_mb_s is None


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            "4,1234,99,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=812, name=python, GPU has fallen off the bus.",
            ("0000:3b:00", 79, "pid=812, name=python, GPU has fallen off the bus."),
        ),
        ("6,1,1,-;NVRM: Xid (PCI:0000:3B:00): 63, Row Remapper", ("0000:3b:00", 63, "Row Remapper")),
        ("6,1,1,-;NVRM: Xid (0000:01:00): 31, Ch 0000000b", ("0000:01:00", 31, "Ch 0000000b")),
        ("6,1,1,-;NVRM: Xid (PCI:00000000:01:00): 13", ("0000:01:00", 13, "")),
        ("6,1,1,-;usb 1-1: new device; Xid of nobody (79)", None),
    ],
)
def test_the_kernels_log_is_understood(record: str, expected: tuple[str, int, str] | None) -> None:
    assert parse(record) == expected


def test_only_what_is_new_in_the_log_is_told(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_text("NVRM: Xid (PCI:0000:01:00): 31, old\n")
    log = KernelLog({"0000:01:00": "GPU-1"}, path)
    assert log.take(1.0) == []
    with path.open("a") as file:
        file.write("NVRM: Xid (PCI:0000:01:00): 79, new\n")
    assert log.take(2.0) == [XidSeen(79, "GPU-1", 2.0, "new")]
    assert log.take(3.0) == []
    assert not KernelLog({}, tmp_path / "none").readable


def test_one_xid_of_two_witnesses_is_one() -> None:
    told: dict[tuple[str | None, int], float] = {}
    seen = [XidSeen(79, "GPU-1", 5.0), XidSeen(79, "GPU-1", 5.5, "fallen off"), XidSeen(79, "GPU-2", 5.0)]
    assert {(xid.uuid, xid.detail) for xid in once(told, seen)} == {("GPU-1", "fallen off"), ("GPU-2", "")}
    assert list(once(told, [XidSeen(79, "GPU-1", 9.0)])) == []
    assert len(list(once(told, [XidSeen(79, "GPU-1", 60.0)]))) == 1


class FakeNvml:
    """A library that answers some questions. It stands for the driver, which is not ours."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDevice") and not name.startswith("nvmlEvent"):
            return getattr(pynvml, name)

        def ask(*arguments: Any) -> Any:
            if name not in self._answers:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            answer = self._answers[name]
            return answer(*arguments) if callable(answer) else answer

        return ask if name != "nvmlEventTypeXidCriticalError" else pynvml.nvmlEventTypeXidCriticalError


def test_nvml_tells_what_it_knows_and_none_for_the_rest() -> None:
    library = FakeNvml(
        {
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=2 << 30, total=24 << 30),
            "nvmlDeviceGetTemperature": 71,
            "nvmlDeviceGetPowerUsage": 215_500,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x20 | 0x4 | 0x1,
            "nvmlDeviceGetRemappedRows": (1, 2, 1, 1),
            "nvmlDeviceGetTotalEccErrors": lambda _handle, kind, _counter: 5 if kind else 90,
        }
    )
    reading = NvmlSampler({"GPU-1": object()}, library).sample(set())[0]
    assert (reading.memory_used_mb, reading.temperature_c, reading.power_w) == (2048, 71, 215.5)
    assert reading.throttle_reasons == ["sw_thermal", "sw_power_cap"]
    assert (reading.row_remaps, reading.row_remap_failure) == (3, True)
    assert (reading.ecc_corrected, reading.ecc_uncorrected) == (90, 5)
    assert (reading.utilisation_percent, reading.retired_pages, reading.pcie_width) == (None, None, None)


def test_a_gpu_that_is_gone_is_left_out_and_its_xid_is_heard() -> None:
    heard = threading.Event()

    def wait(_events: Any, _ms: int) -> Any:
        if heard.is_set():
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        heard.set()
        return SimpleNamespace(device=handle, eventData=79)

    handle = object()
    library = FakeNvml(
        {"nvmlEventSetCreate": 1, "nvmlDeviceRegisterEvents": None, "nvmlEventSetWait_v2": wait}
    )
    sampler = NvmlSampler({"GPU-1": handle}, library)
    sampler._listener.join(10)
    assert sampler.sample(set()) == []
    assert [(xid.code, xid.uuid) for xid in sampler.xids()] == [(79, "GPU-1")]


def test_simulated_gpus_follow_what_runs_and_fail_on_command(tmp_path: Path) -> None:
    found = devices(SPEC, "seed")
    first, second = (device.uuid for device in found)
    path = tmp_path / FAULTS_FILE
    path.write_text(json.dumps({"faults": [{"id": "f0", "kind": "xid", "code": 13}]}))
    sampler = SimulatedSampler(SPEC, found, tmp_path)
    working, idle = sampler.sample({first})
    assert working.utilisation_percent > 80 > 5 > idle.utilisation_percent
    assert working.sm_clock_mhz > idle.sm_clock_mhz
    assert (working.throttle_reasons, working.ecc_uncorrected) == ([], 0)
    assert sampler.xids() == []  # of an earlier run
    faults = [
        {"id": "f1", "kind": "xid", "device": 1, "code": 79},
        {"id": "f2", "kind": "ecc", "device": 1},
        {"id": "f3", "kind": "hot", "device": 0},
        {"id": "f4", "kind": "xid", "device": 9},
    ]
    path.write_text(json.dumps({"faults": faults}))
    assert [(xid.code, xid.uuid) for xid in sampler.xids()] == [(79, second)]
    assert sampler.xids() == []
    working, idle = sampler.sample({first})
    assert working.temperature_c > 95
    assert "hw_thermal" in working.throttle_reasons
    assert idle.ecc_uncorrected == 1
    path.write_text("{")
    assert sampler.sample(set())[0].ecc_uncorrected == 0


class Hanging(NoDevices):
    """A driver that does not come back, or that fails."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.code = 0

    def sample(self, busy: Any) -> Any:
        self.released.wait(20)
        raise OSError("the driver failed")

    def xids(self) -> list[XidSeen]:
        self.code += 1
        return [XidSeen(79, "GPU-1", 0.0)] if self.code == 1 else []


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_driver_that_hangs_holds_up_nothing_and_its_xid_is_told_all_the_same(tmp_path: Path) -> None:
    sent: list[AgentMessage] = []
    sampler = Hanging()
    feed = TelemetryFeed(
        sampler, tmp_path, busy=set, send=lambda make: sent.append(make()), connected=lambda: True
    )
    feed.welcomed(10.0)
    running = asyncio.create_task(feed.run())
    ticks = 0
    for _ in range(50):  # the loop that the heartbeats live on goes on
        await asyncio.sleep(0)
        ticks += 1
    assert (ticks, sent) == (50, [])
    sampler.released.set()
    await until(lambda: sent)
    message = sent[0]
    assert isinstance(message, Telemetry)
    assert [(xid.code, xid.uuid) for xid in message.samples[0].xids] == [(79, "GPU-1")]
    running.cancel()


async def test_what_cannot_be_sent_is_kept_within_a_bound(tmp_path: Path) -> None:
    sent: list[AgentMessage] = []
    online = False
    feed = TelemetryFeed(
        NoDevices(), tmp_path, busy=set, send=lambda make: sent.append(make()), connected=lambda: online
    )
    for number in range(KEPT_MAX + 7):
        feed._due_s = 0.0
        await feed._look()
        assert not sent, number
    online = True
    await feed._look()
    assert sent == []  # nobody asked for it: an older gateway
    feed.welcomed(10.0)
    await feed._look()
    assert isinstance(sent[0], Telemetry)
    assert len(sent[0].samples) == KEPT_MAX == SAMPLES_MAX
    ages = [sample.age_s for sample in sent[0].samples]
    assert ages == sorted(ages, reverse=True)
    assert len(sent[0].model_dump_json()) < os.sysconf("SC_PAGE_SIZE") * 64
