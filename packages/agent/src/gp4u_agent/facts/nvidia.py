"""GPUs as NVIDIA's management library tells of them. A machine without driver simply has none."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pynvml
from gp4u_protocol.messages import DeviceFacts, DeviceHealth

Answer = TypeVar("Answer")
_BRANDS = re.compile(r"^(NVIDIA|Tesla|GeForce|Quadro)\s+", re.IGNORECASE)
_MEMORY = re.compile(r"[ _-]*(\d+)\s*GB", re.IGNORECASE)
_FORM = re.compile(r"\b(SXM\d?|PCIe|HBM\d?e?|NVL)\b", re.IGNORECASE)
_BY_MEMORY = {"A100", "V100"}


def catalogue_name(product: str, vram_mb: int) -> str:
    """The catalogue's spelling of a product: "NVIDIA A100-SXM4-80GB" → "A100_80GB", "NVIDIA GeForce RTX 4090" → "RTX_4090"."""
    name = product
    while (shorter := _BRANDS.sub("", name)) != name:
        name = shorter
    name = _MEMORY.sub("", _FORM.sub("", name))
    name = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").upper()
    if name in _BY_MEMORY:
        name += f"_{round(vram_mb / 1024)}GB"
    return name


class Nvml:
    """An open session with the library."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]

    def devices(self) -> list[DeviceFacts]:
        """Facts of each GPU."""
        driver = _text(_ask(pynvml.nvmlSystemGetDriverVersion) or "")
        found = []
        for handle in self._handles:
            vram_mb = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) >> 20
            found.append(
                DeviceFacts(
                    uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
                    model=catalogue_name(_text(pynvml.nvmlDeviceGetName(handle)), vram_mb),
                    vram_mb=vram_mb,
                    driver=driver,
                    pcie_gen=_ask(partial(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle)),
                    pcie_lanes=_ask(partial(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle)),
                )
            )
        return found

    def handles(self) -> dict[str, Any]:
        """The library's handle of each GPU, by UUID."""
        return {_text(pynvml.nvmlDeviceGetUUID(handle)): handle for handle in self._handles}

    def health(self) -> list[DeviceHealth]:
        """Readings of each GPU; None where it does not tell."""
        return [self._health(handle) for handle in self._handles]

    def _health(self, handle: Any) -> DeviceHealth:
        milliwatts = _ask(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
        return DeviceHealth(
            uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
            utilisation_percent=_ask(lambda: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
            memory_used_mb=_ask(lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) >> 20),
            temperature_c=_ask(
                lambda: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
            ),
            power_w=None if milliwatts is None else milliwatts / 1000,
            ecc_errors=_ask(
                lambda: int(
                    pynvml.nvmlDeviceGetTotalEccErrors(
                        handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
                    )
                )
            ),
        )


def open_nvml() -> Nvml | None:
    """A session, or None where there is no driver."""
    try:
        return Nvml()
    except pynvml.NVMLError:
        return None


def _ask(question: Callable[[], Answer]) -> Answer | None:
    """The answer, or None where this GPU or driver does not support the question."""
    try:
        return question()
    except pynvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
