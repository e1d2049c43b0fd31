"""Events of devices, snapshots and series: what other modules and endpoints get."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad a device event is. Only a critical one drains the node."""

    INFO = "info"  # a job's own error, or something that the device mended by itself
    WARNING = "warning"  # worth the owner's look
    CRITICAL = "critical"  # the device is failing: jobs leave before it dies


class EventKind(StrEnum):
    """What was seen."""

    XID = "xid"
    ECC = "ecc"
    ROW_REMAP = "row_remap"
    THERMAL = "thermal"
    PCIE = "pcie"


class HoldState(StrEnum):
    """What became of drains that were held because too many nodes showed one sign at once."""

    HELD = "held"  # waits for an admin
    CONFIRMED = "confirmed"  # they fail: the nodes are drained
    DISMISSED = "dismissed"  # no failure: the nodes stay
    LAPSED = "lapsed"  # nobody decided, and the sign was not seen for a day


@dataclass(frozen=True)
class HeldNode:
    """A node that would have been drained. `settled_at`: what was decided has been done with it."""

    node_id: str
    node_name: str
    device_uuid: str | None
    held_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True)
class DrainHold:
    """One sign whose drains are held. `nodes_showing` of `nodes_serving` when it began; `nodes`: the newest ones held."""

    id: str
    kind: str
    code: str
    state: HoldState
    reason: str
    nodes_showing: int
    nodes_serving: int
    nodes_held: int
    began_at: datetime
    last_sign_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    decided_reason: str | None
    nodes: tuple[HeldNode, ...]


@dataclass(frozen=True)
class DeviceEvent:
    """Something that happened to a device. `code` is the XID's number, or a word.

    `occurred_at` is `received_at` less the age that the agent gave: never the agent's clock.
    """

    id: str
    node_id: str
    device_uuid: str | None
    kind: str
    code: str
    severity: Severity
    occurred_at: datetime
    received_at: datetime
    detail: Mapping[str, Any]

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        return str(self.detail.get("sentence", f"{self.kind} {self.code}"))


@dataclass(frozen=True)
class Readings:
    """Readings of a node, or of one of its devices, at one instant: name of the metric → value."""

    at: datetime
    values: Mapping[str, float]


@dataclass(frozen=True)
class NodeSnapshot:
    """The newest readings at or before an instant. Empty where nothing was kept for it."""

    node_id: str
    at: datetime
    node: Readings | None
    devices: Mapping[str, Readings]


@dataclass(frozen=True)
class Reading:
    """One metric of a series: a value for each instant of the series, None where nothing was told."""

    unit: str
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True)
class Series:
    """Of a node (`device_uuid` None) or of one of its devices. Steps without a sample are left out."""

    device_uuid: str | None
    at: tuple[datetime, ...]
    metrics: Mapping[str, Reading]
