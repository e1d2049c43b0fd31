"""What a node and its GPUs feel, sent every few seconds beside the heartbeats. Decides no lease.

A gateway that wants it says so in `Welcome.telemetry_every_s`; to one that does not, nothing is sent (it would close the
connection on a type that it does not know). Nothing is acknowledged: readings that are lost are lost.

Instants are ages: the agent's own clock is told once, for information. Numbers that no GPU reads (NaN, infinite, absurdly
large) are taken for "does not tell", so that a broken driver spoils no connection.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SAMPLES_MAX = 30
DEVICES_MAX = 32
XIDS_MAX = 64
AGE_S_MAX = 3_600.0
NUMBER_MAX = 1e12
TEXT_MAX = 300
REASONS = (
    "sw_thermal",  # slowed down by the driver: near its highest temperature
    "hw_thermal",  # slowed down by the hardware: too hot
    "sw_power_cap",
    "hw_power_brake",
    "hw_slowdown",
)
"""Throttle reasons that are told; idling and clocks that somebody chose are none."""


def _number(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) <= NUMBER_MAX else None  # NaN is not


def _age(value: Any) -> float:
    age = _number(value)
    return 0.0 if age is None else min(max(age, 0.0), AGE_S_MAX)


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value[:TEXT_MAX].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _first(most: int) -> BeforeValidator:
    return BeforeValidator(lambda value: value[:most] if isinstance(value, list) else value)


Number = Annotated[float | None, BeforeValidator(_number)]
Age = Annotated[float, BeforeValidator(_age)]
Text = Annotated[str, BeforeValidator(_text)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class XidEvent(_Told):
    """One XID of the driver. `uuid` is None where it could not be told which GPU it was about."""

    code: int = Field(ge=0, le=1 << 31)
    uuid: Text | None = None
    age_s: Age = 0.0
    detail: Text = ""


class DeviceSample(_Told):
    """One GPU; None where it does not tell. Counters count since the driver was loaded."""

    uuid: Text
    utilisation_percent: Number = None
    memory_used_mb: Number = None
    temperature_c: Number = None
    power_w: Number = None
    sm_clock_mhz: Number = None
    memory_clock_mhz: Number = None
    throttle_reasons: list[str] | None = Field(default=None, max_length=32)
    ecc_corrected: Number = None
    ecc_uncorrected: Number = None
    retired_pages: Number = None
    row_remaps: Number = None
    row_remap_failure: bool | None = None
    pcie_gen: Number = None
    pcie_gen_max: Number = None
    pcie_width: Number = None
    pcie_width_max: Number = None
    pcie_replays: Number = None


class NodeSample(_Told):
    """The node and its GPUs at one instant, `age_s` before the message was sent."""

    age_s: Age = 0.0
    load_1m: Number = None
    memory_used_mb: Number = None
    disk_free_mb: Number = None
    disk_read_mb_s: Number = None
    disk_write_mb_s: Number = None
    disk_latency_ms: Number = None
    rtt_ms: Number = None
    jitter_ms: Number = None
    loss_percent: Number = None
    devices: Annotated[list[DeviceSample], _first(DEVICES_MAX)] = []
    xids: Annotated[list[XidEvent], _first(XIDS_MAX)] = Field(
        default=[], description="since the sample before"
    )


class Telemetry(_Told):
    """A batch, oldest sample first."""

    type: Literal["telemetry"] = "telemetry"
    agent_clock: datetime | None = Field(default=None, description="when it was sent; information only")
    samples: Annotated[list[NodeSample], _first(SAMPLES_MAX)] = []
