"""Invented GPUs for demonstrations. Everything else about the node stays real, and every record says `simulated`.

name: aurora-1            # optional: what join proposes
region: eu-north          # optional, information only: the enrolment token decides
devices:
  - {model: RTX_4090, vram_gb: 24, count: 2}
"""

import hashlib
import math
from pathlib import Path

import yaml
from gp4u_protocol.messages import DeviceFacts, DeviceHealth
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class SimulatedDevice(BaseModel):
    """Some GPUs of one kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, max_length=64, pattern=r"^[A-Z0-9][A-Z0-9_]*$")
    vram_gb: int = Field(ge=1, le=1024)
    count: int = Field(default=1, ge=1, le=16)
    pcie_gen: int | None = Field(default=4, ge=1, le=7)
    power_w_max: float = Field(default=350, gt=0, le=2000)


class SimulationSpec(BaseModel):
    """The file behind `--simulate`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    devices: list[SimulatedDevice] = Field(min_length=1, max_length=16)
    name: str | None = None
    region: str | None = None


class BadSimulationSpec(Exception):
    """The file cannot be read; the message says where."""


def load(path: Path) -> SimulationSpec:
    """Read a spec. Raises BadSimulationSpec."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadSimulationSpec(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadSimulationSpec(f"{path} is not a text file in UTF-8") from error
    except yaml.YAMLError as error:
        raise BadSimulationSpec(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise BadSimulationSpec(
            f"{path} must be a mapping such as `devices: [{{model: RTX_4090, vram_gb: 24, count: 1}}]`"
        )
    try:
        return SimulationSpec.model_validate(document)
    except ValidationError as error:
        mistakes = [
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise BadSimulationSpec(f"{path}: " + "; ".join(mistakes)) from error


def devices(spec: SimulationSpec, node_seed: str) -> list[DeviceFacts]:
    """The invented devices; the same seed (the node's public key) always gives the same UUIDs."""
    found: list[DeviceFacts] = []
    for kind in spec.devices:
        for _ in range(kind.count):
            digest = hashlib.sha256(f"{node_seed}/{len(found)}".encode()).hexdigest()
            uuid = f"SIM-{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
            found.append(
                DeviceFacts(
                    uuid=uuid,
                    model=kind.model,
                    vram_mb=kind.vram_gb * 1024,
                    driver="simulated",
                    pcie_gen=kind.pcie_gen,
                    pcie_lanes=16,
                    simulated=True,
                )
            )
    return found


def health(
    spec: SimulationSpec, found: list[DeviceFacts], busy: set[str], now_s: float
) -> list[DeviceHealth]:
    """Plausible readings: warm and loaded where a job runs, idle elsewhere, swinging slowly with time."""
    power_w_max = [kind.power_w_max for kind in spec.devices for _ in range(kind.count)]
    readings = []
    for index, device in enumerate(found):
        swing = math.sin(now_s / 7 + index)
        working = device.uuid in busy
        utilisation = 91 + 6 * swing if working else 0.0
        readings.append(
            DeviceHealth(
                uuid=device.uuid,
                utilisation_percent=round(utilisation, 1),
                memory_used_mb=int(device.vram_mb * (0.72 + 0.03 * swing)) if working else 310,
                temperature_c=round(66 + 4 * swing if working else 36 + swing, 1),
                power_w=round(power_w_max[index] * (0.08 + 0.0085 * utilisation), 1),
                ecc_errors=0,
            )
        )
    return readings
