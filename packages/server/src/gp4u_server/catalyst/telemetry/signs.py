"""From readings to signs of a failing device. Pure: (memory, reading, instant) → (memory, signs).

A sign is told when it begins, not as long as it lasts: a node that its owner put back into service is not drained again
for what he has seen, but for what is new. Thresholds and their sources stand in docs/design/telemetry.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gp4u_protocol.telemetry import DeviceSample, XidEvent

from gp4u_server.catalyst.telemetry.types import EventKind, Severity
from gp4u_server.catalyst.telemetry.xids import meaning_of

HARDWARE_THROTTLE_S = 60.0
"""The hardware halves the clocks only where the driver's own slowing down did not keep it cool."""
DRIVER_THROTTLE_S = 600.0
PCIE_READINGS = 3
"""So many readings in a row, as a link may be retrained just when it is looked at."""
REPLAYS_PER_MINUTE = 60.0
BUSY_PERCENT = 50.0
"""An idle GPU slows its link down to save power: only a busy one's generation says something."""
GAP_S_MAX = 120.0
"""Nothing is known of a longer time without readings, so nothing has lasted through it."""


@dataclass(frozen=True)
class Sign:
    """What was seen of a device."""

    kind: EventKind
    code: str
    severity: Severity
    sentence: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DeviceMemory:
    """What is remembered of one device between readings. Instants are monotonic seconds of whoever watches."""

    seen_at: float | None = None
    ecc_uncorrected: float | None = None
    retired_pages: float | None = None
    row_remaps: float | None = None
    row_remap_failure: bool | None = None
    pcie_replays: float | None = None
    hardware_throttle_since: float | None = None
    driver_throttle_since: float | None = None
    full_width: float | None = None
    narrow_readings: int = 0
    slow_readings: int = 0
    told: frozenset[str] = frozenset()


def remembered(values: Mapping[str, float]) -> DeviceMemory:
    """What the last stored readings of a device say, for a gateway that has not seen it yet."""
    failure = values.get("row_remap_failure")
    return DeviceMemory(
        ecc_uncorrected=values.get("ecc_uncorrected"),
        retired_pages=values.get("retired_pages"),
        row_remaps=values.get("row_remaps"),
        row_remap_failure=None if failure is None else failure > 0,
        full_width=values.get("pcie_width"),
    )


def short(uuid: str) -> str:
    """A device as people read it: GPU-1a2b3c4d."""
    return uuid[:12]


def xid_sign(event: XidEvent) -> Sign:
    """What an XID means."""
    xid = meaning_of(event.code)
    which = f"GPU {short(event.uuid)}" if event.uuid else "A GPU"
    detail = {"driver": event.detail} if event.detail else {}
    return Sign(
        EventKind.XID,
        str(event.code),
        xid.severity,
        f"{which} reported XID {event.code}: {xid.meaning}.",
        {**detail, "meaning": xid.meaning},
    )


def observe(memory: DeviceMemory, sample: DeviceSample, now_s: float) -> tuple[DeviceMemory, list[Sign]]:
    """What one more reading of a device shows."""
    if memory.seen_at is not None and now_s - memory.seen_at > GAP_S_MAX:
        memory = replace(
            memory,
            hardware_throttle_since=None,
            driver_throttle_since=None,
            narrow_readings=0,
            slow_readings=0,
            full_width=None,
            pcie_replays=None,
            told=frozenset(),
        )
    signs: list[Sign] = []
    for look in (_memory_errors, _remapping, _heat, _link, _replays):
        memory, seen = look(memory, sample, now_s)
        signs += seen
    return replace(memory, seen_at=now_s), signs


_Seen = tuple[DeviceMemory, list[Sign]]


def _memory_errors(memory: DeviceMemory, sample: DeviceSample, now_s: float) -> _Seen:
    count, before = sample.ecc_uncorrected, memory.ecc_uncorrected
    if count is None:
        return memory, []
    # Fewer than before: the driver was loaded anew and counts from zero. The first count ever seen is history.
    risen = 0.0 if before is None else count - before if count >= before else count
    memory = replace(memory, ecc_uncorrected=count)
    if risen <= 0:
        return memory, []
    sentence = f"GPU {short(sample.uuid)} had {risen:.0f} memory {_plural('error', risen)} that could not be corrected."
    sign = Sign(EventKind.ECC, "uncorrected", Severity.CRITICAL, sentence, {"count": count, "new": risen})
    return memory, [sign]


def _remapping(memory: DeviceMemory, sample: DeviceSample, now_s: float) -> _Seen:
    signs = []
    gpu = f"GPU {short(sample.uuid)}"
    if sample.row_remap_failure and memory.row_remap_failure is not True:
        sentence = f"{gpu} could not replace a bad row of its memory."
        signs.append(Sign(EventKind.ROW_REMAP, "failure", Severity.CRITICAL, sentence))
    for name, what in (
        ("retired_pages", "took memory pages out of use"),
        ("row_remaps", "replaced rows of its memory"),
    ):
        count, before = getattr(sample, name), getattr(memory, name)
        if count is not None and before is not None and count > before:
            sentence = f"{gpu} {what}: {count:.0f} by now."
            signs.append(Sign(EventKind.ROW_REMAP, name, Severity.WARNING, sentence, {"count": count}))
        if count is not None:
            memory = replace(memory, **{name: count})
    if sample.row_remap_failure is not None:
        memory = replace(memory, row_remap_failure=sample.row_remap_failure)
    return memory, signs


def _heat(memory: DeviceMemory, sample: DeviceSample, now_s: float) -> _Seen:
    if sample.throttle_reasons is None:
        return memory, []
    signs = []
    at = "" if sample.temperature_c is None else f" at {sample.temperature_c:.0f} °C"
    detail = {} if sample.temperature_c is None else {"temperature_c": sample.temperature_c}
    told = memory.told
    hardware = "hw_thermal" in sample.throttle_reasons
    since_hardware = _since(memory.hardware_throttle_since, hardware, now_s)
    if since_hardware is None:
        told -= {"hw_thermal"}
    elif now_s - since_hardware >= HARDWARE_THROTTLE_S and "hw_thermal" not in told:
        told |= {"hw_thermal"}
        sentence = (
            f"GPU {short(sample.uuid)} is too hot{at}: its hardware has slowed it down for "
            f"{now_s - since_hardware:.0f} s."
        )
        signs.append(Sign(EventKind.THERMAL, "hw_thermal", Severity.CRITICAL, sentence, detail))
    driver = hardware or "sw_thermal" in sample.throttle_reasons
    since_driver = _since(memory.driver_throttle_since, driver, now_s)
    if since_driver is None:
        told -= {"sw_thermal"}
    elif now_s - since_driver >= DRIVER_THROTTLE_S and not told & {"sw_thermal", "hw_thermal"}:
        told |= {"sw_thermal"}
        minutes = (now_s - since_driver) / 60
        sentence = f"GPU {short(sample.uuid)} has been slowed down by its heat{at} for {minutes:.0f} min."
        signs.append(Sign(EventKind.THERMAL, "sw_thermal", Severity.WARNING, sentence, detail))
    changed = replace(
        memory, hardware_throttle_since=since_hardware, driver_throttle_since=since_driver, told=told
    )
    return changed, signs


def _link(memory: DeviceMemory, sample: DeviceSample, now_s: float) -> _Seen:
    signs = []
    told = memory.told
    width, full = sample.pcie_width, memory.full_width
    narrow, slow = memory.narrow_readings, memory.slow_readings
    if width is not None:
        full = max(full or 0.0, width)
        narrow = narrow + 1 if width < full else 0
        if not narrow:
            told -= {"width"}
        elif narrow >= PCIE_READINGS and "width" not in told:
            told |= {"width"}
            sentence = (
                f"GPU {short(sample.uuid)} lost lanes of its PCIe link: {width:.0f} of {full:.0f} are left."
            )
            detail = {"width": width, "was": full}
            signs.append(Sign(EventKind.PCIE, "width", Severity.CRITICAL, sentence, detail))
    busy = (sample.utilisation_percent or 0.0) >= BUSY_PERCENT
    if busy and sample.pcie_gen is not None and sample.pcie_gen_max is not None:
        slow = slow + 1 if sample.pcie_gen < sample.pcie_gen_max else 0
        if not slow:
            told -= {"generation"}
        elif slow >= PCIE_READINGS and "generation" not in told:
            told |= {"generation"}
            sentence = (
                f"GPU {short(sample.uuid)} runs its PCIe link at generation {sample.pcie_gen:.0f} of "
                f"{sample.pcie_gen_max:.0f} under load."
            )
            signs.append(Sign(EventKind.PCIE, "generation", Severity.WARNING, sentence))
    changed = replace(memory, full_width=full, narrow_readings=narrow, slow_readings=slow, told=told)
    return changed, signs


def _replays(memory: DeviceMemory, sample: DeviceSample, now_s: float) -> _Seen:
    count, before, seen_at = sample.pcie_replays, memory.pcie_replays, memory.seen_at
    memory = replace(memory, pcie_replays=count)
    if count is None or before is None or seen_at is None or count < before or now_s <= seen_at:
        return memory, []
    per_minute = (count - before) * 60 / (now_s - seen_at)
    if per_minute < REPLAYS_PER_MINUTE:
        return replace(memory, told=memory.told - {"replays"}), []
    if "replays" in memory.told:
        return memory, []
    sentence = f"GPU {short(sample.uuid)} sends packets again on its PCIe link: {per_minute:.0f} a minute."
    sign = Sign(EventKind.PCIE, "replays", Severity.WARNING, sentence, {"per_minute": round(per_minute)})
    return replace(memory, told=memory.told | {"replays"}), [sign]


def _since(since: float | None, lasts: bool, now_s: float) -> float | None:
    if not lasts:
        return None
    return now_s if since is None else since


def _plural(word: str, count: float) -> str:
    return word if count == 1 else f"{word}s"
