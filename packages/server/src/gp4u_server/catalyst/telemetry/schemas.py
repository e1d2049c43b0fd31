"""Answer models of telemetry."""

from datetime import datetime
from typing import Any, Literal

from gp4u_protocol.job_spec import Strict
from pydantic import Field

from gp4u_server.catalyst.telemetry.summing import Resolution
from gp4u_server.catalyst.telemetry.types import HoldState, Severity


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


class HeldNodeOut(Strict):
    node_id: str
    node_name: str
    device_uuid: str | None
    held_at: datetime
    settled_at: datetime | None = Field(description="what was decided has been done with it")


class DrainHoldOut(Strict):
    """A critical sign that too many nodes showed at once."""

    id: str
    kind: str
    code: str
    state: HoldState = Field(
        description="held: waits for an admin; confirmed: the nodes are drained; dismissed: they stay; "
        "lapsed: nobody decided and the sign was not seen for a day"
    )
    reason: str
    nodes_showing: int = Field(description="within the window, when it began")
    nodes_serving: int = Field(description="verified and connected, when it began")
    nodes_held: int
    began_at: datetime
    last_sign_at: datetime
    decided_at: datetime | None
    decided_reason: str | None
    nodes: list[HeldNodeOut] = Field(description="the newest 50")


class HoldDecisionIn(Strict):
    decision: Literal["confirmed", "dismissed"]
    reason: str = Field(min_length=1, max_length=500)
