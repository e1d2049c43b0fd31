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
    ours: bool = False
    """Lost, because the platform lost sight of it: nothing is known of the node itself."""
    silent_s: float | None = None
    socket_open: bool | None = None
    """Whether its connection was still open when it was declared lost; None: not known."""


class NodeScoreChanged(NodeEvent):
    """Something was attributed to the node, or taken back. Its row is locked."""

    topic: ClassVar[str] = "node.score_changed"
    before: float
    after: float
    incident_id: str | None = None


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


class DevicesToLeave(NodeEvent):
    """Jobs hold devices of this node that failed or are kept for another job. Whoever runs jobs wakes his loop, as for
    `NodeDrainRequested`: this transaction holds the node, so it may lock no job."""

    topic: ClassVar[str] = "node.devices_to_leave"
