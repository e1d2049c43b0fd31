"""Readings by NVIDIA's management library (nvidia-ml-py), and its XIDs by an event set.

Written from the library's documented interface (NVML API reference: device queries, events). *Not run on a GPU in this
repository's tests*: what they prove is what happens where the library or a question is missing. A question that a GPU or
a driver does not support is answered with None.
"""

import ctypes
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Set
from functools import partial
from typing import Any, TypeVar

import pynvml
from gp4u_protocol.telemetry import DeviceSample

from gp4u_agent.telemetry.kernel_log import KernelLog
from gp4u_agent.telemetry.port import XidSeen

WAIT_MS = 1_000
XIDS_KEPT_MAX = 256
SAME_S = 10.0
"""An XID that the kernel's log and the event set both tell within this time is one."""
_REASONS = {
    "sw_thermal": pynvml.nvmlClocksThrottleReasonSwThermalSlowdown,
    "hw_thermal": pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "sw_power_cap": pynvml.nvmlClocksThrottleReasonSwPowerCap,
    "hw_power_brake": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    "hw_slowdown": pynvml.nvmlClocksThrottleReasonHwSlowdown,
}
_RETIRED = (
    pynvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS,
    pynvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR,
)

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class NvmlSampler:
    """Of the GPUs with these handles, by UUID; the library is open already (see `facts.nvidia`)."""

    def __init__(self, handles: Mapping[str, Any], library: Any = pynvml) -> None:
        self._handles = dict(handles)
        self._library = library
        self._uuids = {_address(handle): uuid for uuid, handle in self._handles.items()}
        self._kernel_log = KernelLog(self._by_pci())
        self._heard: deque[XidSeen] = deque(maxlen=XIDS_KEPT_MAX)
        self._told: dict[tuple[str | None, int], float] = {}
        self._listener = threading.Thread(target=self._listen, name="xids", daemon=True)
        self._listener.start()

    def sample(self, busy: Set[str]) -> list[DeviceSample]:
        """See DeviceSampler. A GPU that does not even tell its memory is left out: it is not there any more."""
        return [
            reading
            for uuid, handle in self._handles.items()
            if (reading := self._device(uuid, handle)) is not None
        ]

    def xids(self) -> list[XidSeen]:
        """See DeviceSampler."""
        now_s = time.monotonic()
        heard = [self._heard.popleft() for _ in range(len(self._heard))]
        return list(once(self._told, [*self._kernel_log.take(now_s), *heard]))

    def _device(self, uuid: str, handle: Any) -> DeviceSample | None:
        nvml, ask = self._library, self._ask
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        if memory is None:
            return None
        utilisation = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        milliwatts = ask(nvml.nvmlDeviceGetPowerUsage, handle)
        reasons = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        remaps = ask(nvml.nvmlDeviceGetRemappedRows, handle)
        retired = [ask(nvml.nvmlDeviceGetRetiredPages, handle, cause) for cause in _RETIRED]
        errors = partial(ask, nvml.nvmlDeviceGetTotalEccErrors, handle)
        return DeviceSample(
            uuid=uuid,
            utilisation_percent=None if utilisation is None else utilisation.gpu,
            memory_used_mb=memory.used >> 20,
            temperature_c=ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power_w=None if milliwatts is None else milliwatts / 1000,
            sm_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            memory_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
            throttle_reasons=None
            if reasons is None
            else [name for name, bit in _REASONS.items() if reasons & bit],
            ecc_corrected=errors(nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_VOLATILE_ECC),
            ecc_uncorrected=errors(nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC),
            retired_pages=None
            if None in retired
            else sum(len(pages) for pages in retired if pages is not None),
            # Corrected and uncorrected ones, whether one is pending, whether one failed.
            row_remaps=None if remaps is None else remaps[0] + remaps[1],
            row_remap_failure=None if remaps is None else bool(remaps[3]),
            pcie_gen=ask(nvml.nvmlDeviceGetCurrPcieLinkGeneration, handle),
            pcie_gen_max=ask(nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
            pcie_width=ask(nvml.nvmlDeviceGetCurrPcieLinkWidth, handle),
            pcie_width_max=ask(nvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
            pcie_replays=ask(nvml.nvmlDeviceGetPcieReplayCounter, handle),
        )

    def _ask(self, question: Callable[..., Answer], *arguments: Any) -> Answer | None:
        try:
            return question(*arguments)
        except self._library.NVMLError:
            return None

    def _by_pci(self) -> dict[str, str]:
        found = {}
        for uuid, handle in self._handles.items():
            pci = self._ask(self._library.nvmlDeviceGetPciInfo, handle)
            if pci is not None:
                found[f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}"] = uuid
        return found

    def _listen(self) -> None:
        """Waits for the driver's events, a second at a time. Where it cannot, the kernel's log is all there is."""
        nvml = self._library
        try:
            events = nvml.nvmlEventSetCreate()
            for handle in self._handles.values():
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
        except (nvml.NVMLError, AttributeError):
            log.info(
                "no XID events by NVML; %s",
                "the kernel's log is read" if self._kernel_log.readable else "none",
            )
            return
        while True:
            try:
                event = nvml.nvmlEventSetWait_v2(events, WAIT_MS)
            except nvml.NVMLError as error:
                if getattr(error, "value", None) == nvml.NVML_ERROR_TIMEOUT:
                    continue
                log.warning("XID events ended: %s", error)
                return
            uuid = self._uuids.get(_address(event.device))
            self._heard.append(XidSeen(int(event.eventData), uuid, time.monotonic()))


def once(told: dict[tuple[str | None, int], float], seen: Iterable[XidSeen]) -> Iterable[XidSeen]:
    """Those that were not told within SAME_S. Whoever knows the driver's words comes first."""
    for xid in sorted(seen, key=lambda each: not each.detail):
        last = told.get((xid.uuid, xid.code))
        if last is not None and abs(xid.at_s - last) < SAME_S:
            continue
        if len(told) > XIDS_KEPT_MAX:
            told.clear()
        told[xid.uuid, xid.code] = xid.at_s
        yield xid


def _address(handle: Any) -> int | None:
    """What tells two handles apart: they are pointers of the driver."""
    try:
        return ctypes.cast(handle, ctypes.c_void_p).value
    except (TypeError, ctypes.ArgumentError):
        return id(handle)
