"""Facts about devices."""

from datetime import datetime
from typing import ClassVar

from gp4u_server.catalyst.telemetry.types import HoldState, Severity
from gp4u_server.foundation.events import Event


class DeviceFaulted(Event):
    """A device showed something: a job's own error (info) as well as a failure that drains its node (critical)."""

    topic: ClassVar[str] = "device.faulted"
    node_id: str
    device_uuid: str | None
    kind: str
    code: str
    severity: Severity
    at: datetime

    @property
    def key(self) -> str:
        return self.node_id


class DrainsHeld(Event):
    """Too many nodes showed one critical sign at once: none of them is drained until an admin has looked."""

    topic: ClassVar[str] = "drains.held"
    hold_id: str
    kind: str
    code: str
    nodes_showing: int
    nodes_serving: int
    reason: str
    at: datetime

    @property
    def key(self) -> str:
        return self.hold_id


class DrainsDecided(Event):
    """An admin said what the sign of held drains means (`confirmed`, `dismissed`), or nobody did for a day (`lapsed`)."""

    topic: ClassVar[str] = "drains.decided"
    hold_id: str
    state: HoldState
    decided_by: str | None
    at: datetime

    @property
    def key(self) -> str:
        return self.hold_id
