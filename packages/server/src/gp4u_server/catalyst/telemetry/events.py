"""Facts about devices."""

from datetime import datetime
from typing import ClassVar

from gp4u_server.catalyst.telemetry.types import Severity
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
