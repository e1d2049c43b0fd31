"""Answer models of telemetry."""

from datetime import datetime
from typing import Any

from gp4u_protocol.job_spec import Strict
from pydantic import Field

from gp4u_server.catalyst.telemetry.summing import Resolution
from gp4u_server.catalyst.telemetry.types import Severity


class ReadingOut(Strict):
    """One metric: a value for each instant in `at`; null where nothing was told."""

    unit: str
    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]


class SeriesOut(Strict):
    device_uuid: str | None = Field(description="null: the node itself")
    at: list[datetime] = Field(description="beginnings of the steps that have samples, oldest first")
    metrics: dict[str, ReadingOut]


class TelemetryOut(Strict):
    """GET /nodes/{id}/telemetry."""

    node_id: str
    since: datetime
    until: datetime
    resolution: Resolution = Field(description="of what was read")
    step_s: int = Field(description="between two points: the resolution, or a multiple of it")
    series: list[SeriesOut]


class DeviceEventOut(Strict):
    id: str
    device_uuid: str | None
    kind: str = Field(description="xid, ecc, row_remap, thermal, pcie")
    code: str = Field(description="the XID's number, or a word")
    severity: Severity = Field(description="info, warning, critical; a critical one drains the node")
    sentence: str
    occurred_at: datetime
    received_at: datetime
    detail: dict[str, Any]
