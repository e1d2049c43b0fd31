"""Facts about nodes. The market hears them in the same transaction and keeps its offers in step."""

from datetime import datetime
from typing import ClassVar

from gp4u_server.foundation.events import Event
from gp4u_server.nodes.types import Duty, Liveness


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


class NodeDutyChanged(NodeEvent):
    """The node takes jobs, or takes none (any more): drained, in maintenance, quarantined, or back in service."""

    topic: ClassVar[str] = "node.duty_changed"
    duty: Duty
    was: Duty
    reason: str | None = None
    until: datetime | None = None


class NodeDrainRequested(NodeEvent):
    """Whoever runs jobs on this node is asked to move them: checkpoint, move, release.

    Published in the transaction that sets `nodes.duty = 'draining'`, with the node's row locked. Jobs come before nodes
    in the lock order, so a subscriber must not lock jobs here: it wakes its loop (NOTIFY), which asks
    `NodeService.draining_nodes`, and asks again until nothing runs there. A placement that was being made at the same
    time is found by that second look. `reason` is a sentence for the renter. `deadline_at`: the node may be switched off
    from then on; None when nobody is in a hurry.
    """

    topic: ClassVar[str] = "node.drain_requested"
    reason: str
    deadline_at: datetime | None = None
