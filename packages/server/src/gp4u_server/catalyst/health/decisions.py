"""What a change of liveness means for the jobs of the node. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from gp4u_protocol.lease import freeze_after_s

from gp4u_server.catalyst.health.lease_table import Change, NodeState


@dataclass(frozen=True)
class HeldRow:
    """What the database says of a node whose row names a gateway."""

    session_no: int
    desired_version: int
    liveness: str
    ttl_s: float = 0.0
    """Of its longest lease in force."""


class Write(StrEnum):
    """One thing to write about every live placement of the node."""

    INTERRUPTED = "interrupted"
    INTERRUPTED_BY_US = "interrupted_by_us"  # the node did nothing wrong; we could confirm nothing
    RESTORED = "restored"
    LOST = "lost"


def writes_of(change: Change) -> tuple[Write, ...]:
    """What to write, in order, when `change` is accepted."""
    if change.state is NodeState.SUSPECT:
        return (Write.INTERRUPTED,)
    if change.state is NodeState.LOST:
        return (Write.LOST,)
    if change.was is NodeState.ONLINE:
        # Not the node was silent: we could renew nothing, and its jobs were frozen meanwhile.
        return (Write.INTERRUPTED_BY_US, Write.RESTORED)
    return (Write.RESTORED,)


def writes_of_connecting(unwatched_s: float | None, ttl_s: float, *, ours: bool = False) -> tuple[Write, ...]:
    """What to write when a node connects after nobody renewed its leases for `unwatched_s` (None: somebody did).

    `ours`: it was a gateway that renewed nothing, and not the node that was silent.
    """
    if unwatched_s is not None and unwatched_s > freeze_after_s(ttl_s):
        # For longer than a lease lasts: its jobs were frozen.
        return (Write.INTERRUPTED_BY_US if ours else Write.INTERRUPTED, Write.RESTORED)
    return (Write.RESTORED,)
