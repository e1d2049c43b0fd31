"""Facts about nodes. The market hears them in the same transaction and keeps its offers in step."""

from datetime import datetime
from typing import ClassVar

from gp4u_server.foundation.events import Event
from gp4u_server.nodes.types import Liveness


class NodeEvent(Event):
    """Base: every fact about a node carries its id."""

    node_id: str

    @property
    def key(self) -> str:
        return self.node_id


class NodeLivenessChanged(NodeEvent):
    """The lease of a node came, wavered or went."""

    topic: ClassVar[str] = "node.liveness_changed"
    liveness: Liveness
    was: Liveness
    session_no: int
    at: datetime


class NodeFactsChanged(NodeEvent):
    """The node's hardware, status or record is not what it was."""

    topic: ClassVar[str] = "node.facts_changed"


class NodeRemoved(NodeEvent):
    """The owner removed the node."""

    topic: ClassVar[str] = "node.removed"
