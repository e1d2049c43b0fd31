"""Invented readings of the simulated fleet's GPUs: they follow what runs, and can be made to fail on command.

Faults are read from a file beside the agent's state, which the demo's controls write. Only an agent that was started with
`--simulate` looks at it, and every record of such a node says `simulated`.

    {"faults": [{"id": "f1", "kind": "xid", "device": 0, "code": 79}, {"id": "f2", "kind": "hot", "device": 0}]}
"""

import json
import time
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Literal

from gp4u_protocol.messages import DeviceFacts
from gp4u_protocol.telemetry import DeviceSample
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gp4u_agent.facts.simulated import SimulationSpec, health
from gp4u_agent.telemetry.port import XidSeen

FAULTS_FILE = "simulated_faults.json"
HOT_C = 98.0
_SM_CLOCK_MHZ = (210, 2_520)
_MEMORY_CLOCK_MHZ = (405, 10_501)


class Fault(BaseModel):
    """Something that a simulated GPU does from now on (hot, ecc) or did once (xid)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    kind: Literal["xid", "ecc", "hot"]
    device: int = Field(default=0, ge=0)
    code: int = 79


class Faults(BaseModel):
    """The file."""

    faults: list[Fault] = []


class SimulatedSampler:
    """Of one node's invented GPUs. XIDs that stood in the file when it began are history."""

    def __init__(self, spec: SimulationSpec, devices: Sequence[DeviceFacts], folder: Path) -> None:
        self._spec = spec
        self._devices = list(devices)
        self._path = folder / FAULTS_FILE
        self._told = {fault.id for fault in self._faults()}

    def sample(self, busy: Set[str]) -> list[DeviceSample]:
        """See DeviceSampler."""
        faults = self._faults()
        readings = health(self._spec, self._devices, set(busy), time.monotonic())
        return [
            self._device(index, device, reading.model_dump(exclude={"ecc_errors", "xid"}), faults)
            for index, (device, reading) in enumerate(zip(self._devices, readings, strict=True))
        ]

    def xids(self) -> list[XidSeen]:
        """See DeviceSampler."""
        found = []
        for fault in self._faults():
            if fault.kind != "xid" or fault.id in self._told or fault.device >= len(self._devices):
                continue
            self._told.add(fault.id)
            uuid = self._devices[fault.device].uuid
            found.append(XidSeen(fault.code, uuid, time.monotonic(), "made by the demo"))
        return found

    def _device(
        self, index: int, device: DeviceFacts, reading: dict[str, object], faults: list[Fault]
    ) -> DeviceSample:
        mine = [fault for fault in faults if fault.device == index]
        hot = any(fault.kind == "hot" for fault in mine)
        errors = sum(fault.kind == "ecc" for fault in mine)
        load = float(str(reading["utilisation_percent"] or 0)) / 100
        told = {
            **reading,
            "sm_clock_mhz": _between(_SM_CLOCK_MHZ, load) * (0.5 if hot else 1),
            "memory_clock_mhz": _between(_MEMORY_CLOCK_MHZ, min(1.0, load * 2)),
            "throttle_reasons": ["hw_thermal", "hw_slowdown"] if hot else [],
            "ecc_corrected": errors * 12,
            "ecc_uncorrected": errors,
            "retired_pages": 0,
            "row_remaps": errors,
            "row_remap_failure": False,
            "pcie_gen": device.pcie_gen if load > 0.1 else 1,
            "pcie_gen_max": device.pcie_gen,
            "pcie_width": device.pcie_lanes,
            "pcie_width_max": device.pcie_lanes,
            "pcie_replays": 0,
        }
        if hot:
            told["temperature_c"] = HOT_C
        return DeviceSample.model_validate(told)

    def _faults(self) -> list[Fault]:
        try:
            return Faults.model_validate(json.loads(self._path.read_text())).faults
        except (OSError, ValueError, ValidationError):
            return []


def _between(bounds: tuple[int, int], share: float) -> float:
    low, high = bounds
    return round(low + (high - low) * min(max(share, 0.0), 1.0))
