"""Facts about incidents."""

from typing import ClassVar

from gp4u_server.catalyst.incidents.types import Cause
from gp4u_server.foundation.events import Event


class IncidentAttributed(Event):
    """An incident was attributed, or attributed anew. Its node's row is locked."""

    topic: ClassVar[str] = "incident.attributed"
    incident_id: str
    node_id: str
    cause: Cause
    was: Cause | None

    @property
    def key(self) -> str:
        return self.node_id
