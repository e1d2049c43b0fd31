"""What a gateway does with a claim, a poll's answer, a heartbeat. Pure: the hub and its connections apply it."""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum

from gp4u_protocol.lease_core import LeaseId

from gp4u_server.catalyst.health.lease_table import Change, NodeState

DESIRED_AGAIN_S = 1.0


@dataclass
class UnwrittenLosses:
    """Losses that are declared in the table and not in the database yet, by (node, session number).

    Between the two no claim may be passed on: the database would still accept it, the write would then end the
    placement and move the job, and the lease just granted would run on beside it.
    """

    _pending: set[tuple[str, int]] = field(default_factory=set)

    def declared(self, change: Change) -> None:
        """A change is about to be written."""
        if change.state is NodeState.LOST:
            self._pending.add((change.node_id, change.session_no))

    def settled(self, change: Change) -> None:
        """It was written, or will never be."""
        if change.state is NodeState.LOST:
            self._pending.discard((change.node_id, change.session_no))

    def bars(self, node_id: str, session_no: int | None) -> bool:
        """Whether claims of this session must be dropped; the agent sends them again."""
        return (node_id, session_no) in self._pending


def still_true(change: Change, session_no: int | None) -> bool:
    """Whether a change that waited may be written: a newer session wrote, or will write, what is true now."""
    return session_no is None or session_no == change.session_no


def aged(change: Change, waited_s: float) -> Change:
    """The same change, written `waited_s` later: the silence went on meanwhile."""
    return replace(change, silent_s=change.silent_s + waited_s)


class PollVerdict(StrEnum):
    """What the database's word on one held node means."""

    NOTHING = "nothing"
    SUPERSEDED = "superseded"  # a newer session has the node elsewhere: forget it, close its socket
    REFRESH = "refresh"  # its wanted state changed


def judge_poll(
    asked_no: int | None, held_no: int | None, row: tuple[int, int] | None, version: int | None
) -> PollVerdict:
    """`asked_no`: the session number held when the read began; `held_no`: now; `row`: (session number, desired version)
    of the node's row if it still names this gateway; `version`: what its connection last sent, None without one."""
    if asked_no is None or held_no != asked_no:
        return PollVerdict.NOTHING
    if row is None or row[0] > asked_no:
        return PollVerdict.SUPERSEDED
    return PollVerdict.REFRESH if version is not None and row[1] != version else PollVerdict.NOTHING


def desired_is_due(wanted: Set[LeaseId], reported: Iterable[LeaseId], sent_s_ago: float) -> bool:
    """Whether to say the wanted state again: offers are repeated until claimed, and orders to kill until obeyed."""
    return sent_s_ago >= DESIRED_AGAIN_S and wanted != set(reported)
