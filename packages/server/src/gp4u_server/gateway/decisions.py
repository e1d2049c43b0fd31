"""What a gateway does with a claim, a poll's answer, a heartbeat. Pure: the hub and its connections apply it."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum

from gp4u_protocol.lease import replace_after_s
from gp4u_protocol.lease_core import LeaseId

from gp4u_server.catalyst.health.decisions import HeldRow
from gp4u_server.catalyst.health.lease_table import Change, NodeState

DESIRED_AGAIN_S = 1.0


@dataclass
class UnwrittenLosses:
    """Losses that are declared in the table and not in the database yet, by (node, session number).

    Between the two no claim may be passed on: the database would still accept it, the write would then end the
    placement and move the job, and the lease just granted would run on beside it.
    """

    _pending: dict[tuple[str, int], tuple[Change, float]] = field(default_factory=dict)

    def declared(self, change: Change, at: float = 0.0) -> None:
        """A change is about to be written. `at`: the instant from which its `silent_s` counts on."""
        if change.state is NodeState.LOST:
            self._pending[change.node_id, change.session_no] = (change, at)

    def settled(self, change: Change) -> None:
        """It was written, or a newer session voids it. One that merely could not be written is still owed."""
        if change.state is NodeState.LOST:
            self._pending.pop((change.node_id, change.session_no), None)

    def forget_older(self, node_id: str, session_no: int | None) -> None:
        """The node is held with this session number: losses of its older sessions are void."""
        for owed_id, owed_no in list(self._pending):
            if owed_id == node_id and session_no is not None and owed_no < session_no:
                del self._pending[owed_id, owed_no]

    def owed(self, node_id: str, session_no: int, now: float) -> Change | None:
        """The loss of this session that is not written yet, as it is to be written at `now`."""
        if (found := self._pending.get((node_id, session_no))) is None:
            return None
        change, at = found
        return aged(change, now - at)

    def bars(self, node_id: str, session_no: int | None) -> bool:
        """Whether claims of this session must be dropped; the agent sends them again."""
        return (node_id, session_no) in self._pending


def rebuilt(
    owed: Change | None, node_id: str, state: NodeState, silent_s: float, row: HeldRow
) -> list[Change]:
    """What must be written so that the database says what the table says of a held node, when nothing waits to be written.

    `owed`: a loss of this session that was declared and is not written. It comes first even when the node is back
    meanwhile: its leases are void in the table, so its placements must end in the database, too.
    """
    if owed is not None:
        changes = [owed]
        if state is not NodeState.LOST:
            changes.append(Change(node_id, row.session_no, NodeState.ONLINE, 0.0, NodeState.LOST))
        return changes
    if state.value == row.liveness:
        return []
    was = NodeState(row.liveness) if row.liveness in set(NodeState) else NodeState.LOST
    return [Change(node_id, row.session_no, state, 0.0 if state is NodeState.ONLINE else silent_s, was)]


@dataclass
class AbsentNodes:
    """Nodes that the database calls alive in our hands and that we do not know: a handshake that died half-way, a change
    that was lost. Nobody renews their leases, and no controller takes them while we live, so we say ourselves that they
    are lost, once nobody has known them for as long as it takes to be lost."""

    ttl_s: float
    _since: dict[str, tuple[int, float]] = field(default_factory=dict)

    def observe(
        self, rows: Mapping[str, HeldRow], known: Set[str], now: float, read: Set[str] | None = None
    ) -> list[Change]:
        """`rows` as just read, `known`: the nodes held now, `read`: the nodes that were asked for (None: all); those that are
        not among `rows` are not ours any more. What was not asked for waits on. Returns the losses to write.

        The caller must refuse these sessions from then on, should their handshake still end.
        """
        alive = {NodeState.ONLINE.value, NodeState.SUSPECT.value}
        absent = {
            node_id: row for node_id, row in rows.items() if row.liveness in alive and node_id not in known
        }
        waiting = (
            {} if read is None else {key: since for key, since in self._since.items() if key not in read}
        )
        self._since = waiting | {
            node_id: (
                self._since[node_id]
                if node_id in self._since and self._since[node_id][0] == row.session_no
                else (row.session_no, now)
            )
            for node_id, row in absent.items()
        }
        return [
            Change(node_id, number, NodeState.LOST, now - since, NodeState(row.liveness), ours=True)
            for node_id, row in absent.items()
            for number, since in (self._since[node_id],)
            if now - since >= replace_after_s(max(self.ttl_s, row.ttl_s))
        ]

    @property
    def watched(self) -> Iterable[str]:
        """The nodes that it waits for."""
        return self._since.keys()


ATTEMPTS_MAX = 8
"""Of one change, while the database answers. Then it is set aside and rebuilt later from what is true by then."""
OUTAGE_ATTEMPTS_MAX = 60
RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0


def retry_after_s(attempts: int, *, outage: bool) -> float | None:
    """The pause after the `attempts`-th failure in a row; None: give this change up. `outage`: not the change is bad, the
    database is away or busy."""
    if attempts >= (OUTAGE_ATTEMPTS_MAX if outage else ATTEMPTS_MAX):
        return None
    return float(min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(attempts - 1, 10)))


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
