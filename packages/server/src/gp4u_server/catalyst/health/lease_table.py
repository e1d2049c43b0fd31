"""The gateway's memory of its nodes: who beat last, whose leases a beat renews, who is suspect, who is lost.

Pure: all instants are seconds on the gateway's own monotonic clock, given by the caller. Nothing is forgotten in a
hurry: silence is counted from the *receipt* of the last accepted beat, which is never earlier than its send.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from gp4u_protocol.lease import HEARTBEAT_INTERVAL_S, LEASE_TTL_S, freeze_after_s, replace_after_s
from gp4u_protocol.lease_core import LeaseId

SUSPECT_BEATS = 2.5
"""Missed intervals after which a node is suspect."""
STALL_S = 1.0
"""Our own loop was late by more than this: the silence meanwhile says nothing about the nodes."""
MASS_FRACTION = 1 / 3
MASS_NODES_MIN = 3
MASS_WINDOW_S = 10.0
MASS_HOLD_S = 30.0
"""When over a third of the nodes (and at least three) go silent together, it is rather our network than theirs: their
loss is held back this long from the first of them on. A real outage of a whole site is then believed."""
CUT_OFF_GRACE_S = 10.0
"""After a time without authority agents have to find us again, perhaps all at once: their silence counts from then on."""


class NodeState(StrEnum):
    """What the table thinks of a node."""

    ONLINE = "online"
    SUSPECT = "suspect"
    LOST = "lost"


@dataclass(frozen=True)
class Change:
    """A node's state changed; write it. `silent_s`: since the receipt of its last beat (before it came back).

    ONLINE that was ONLINE: the node was there all the time, and for `silent_s` this gateway could renew nothing.
    `ours`: not the node was silent, we lost sight of it; a loss is then not held against it.
    """

    node_id: str
    session_no: int
    state: NodeState
    silent_s: float
    was: NodeState
    ours: bool = False


@dataclass
class _Session:
    session_id: str
    session_no: int
    last_beat: float
    silent_from: float  # as last_beat, moved forward by our own stalls
    state: NodeState = NodeState.ONLINE
    leases: set[LeaseId] = field(default_factory=set)


@dataclass
class LeaseTable:
    """One per gateway process."""

    interval_s: float = HEARTBEAT_INTERVAL_S
    ttl_s: float = LEASE_TTL_S
    replace_s: float | None = None
    """Silence before a node is lost. None: what the protocol proves safe; only the simulation plants another."""

    _nodes: dict[str, _Session] = field(default_factory=dict)
    _authority_until: float = float("-inf")
    _last_tick: float | None = None
    _lost_at: deque[float] = field(default_factory=deque)
    _held_since: float | None = None

    # --- authority ---------------------------------------------------------------------------------------

    def authority_renewed(self, until: float) -> None:
        """This gateway may renew leases until `until` (see `authority`)."""
        self._authority_until = max(self._authority_until, until)

    def has_authority(self, now: float) -> bool:
        """Whether leases may be granted and renewed at `now`."""
        return now < self._authority_until

    def lapse(self, now: float) -> list[Change]:
        """Ask when authority is about to be had again: the nodes whose jobs froze while it was gone."""
        lapsed_s = now - self._authority_until
        if lapsed_s <= freeze_after_s(self.ttl_s) or lapsed_s == float("inf"):
            return []
        return [
            Change(node_id, node.session_no, NodeState.ONLINE, lapsed_s, NodeState.ONLINE)
            for node_id, node in self._nodes.items()
            if node.state is NodeState.ONLINE and node.leases
        ]

    def revoke_all(self) -> list[str]:
        """Another process took our nodes over: forget everything. Returns the nodes that were held."""
        held = list(self._nodes)
        self._nodes.clear()
        self._authority_until = float("-inf")
        return held

    # --- sessions ----------------------------------------------------------------------------------------

    def opened(
        self, node_id: str, session_id: str, session_no: int, leases: Iterable[LeaseId], now: float
    ) -> None:
        """A node proved its key. `leases`: its claimed placements as the database has them at this session's start.

        Silence counts from now: whatever an earlier session or gateway renewed was sent before this instant.
        """
        self._nodes[node_id] = _Session(session_id, session_no, now, now, leases=set(leases))

    def left(self, node_id: str, session_id: str) -> bool:
        """The node said goodbye. True when it is forgotten; a node with leases is watched until they run out."""
        node = self._session(node_id, session_id)
        if node is None or node.leases:
            return False
        del self._nodes[node_id]
        return True

    def forget(self, node_id: str, session_no: int) -> None:
        """A newer session of the node lives elsewhere."""
        node = self._nodes.get(node_id)
        if node is not None and node.session_no == session_no:
            del self._nodes[node_id]

    def session_no(self, node_id: str) -> int | None:
        """The session number held for a node."""
        node = self._nodes.get(node_id)
        return None if node is None else node.session_no

    def state(self, node_id: str) -> NodeState | None:
        """What the table thinks of a node; None when it is not held here."""
        node = self._nodes.get(node_id)
        return None if node is None else node.state

    def silent_s(self, node_id: str, now: float) -> float:
        """Seconds since the receipt of the node's last beat."""
        return now - self._nodes[node_id].last_beat

    @property
    def nodes(self) -> list[str]:
        """All nodes held here."""
        return list(self._nodes)

    # --- leases ------------------------------------------------------------------------------------------

    def claim_received(self, node_id: str, session_id: str, now: float) -> bool:
        """A claim came in: it is a sign of life, counted from this receipt. False: not the node's session."""
        node = self._session(node_id, session_id)
        if node is None or node.state is NodeState.LOST:
            return False
        node.last_beat = node.silent_from = now
        return True

    def granted(self, node_id: str, session_id: str, lease: LeaseId, now: float) -> bool:
        """The database accepted the claim. False: the answer must not be sent (session, loss or authority)."""
        node = self._session(node_id, session_id)
        if node is None or node.state is NodeState.LOST or not self.has_authority(now):
            return False
        node.leases.add(lease)
        return True

    def keep_only(self, node_id: str, leases: Iterable[LeaseId]) -> None:
        """The database's live placements of the node were read: leases that are no longer among them are over."""
        node = self._nodes.get(node_id)
        if node is not None:
            node.leases &= set(leases)

    def beat(
        self, node_id: str, session_id: str, reported: Iterable[LeaseId], now: float
    ) -> tuple[list[LeaseId], Change | None] | None:
        """A heartbeat was received at `now`: which of the `reported` leases it renews, and the node's return if it
        was away. None: not this node's session any more; answer nothing."""
        node = self._session(node_id, session_id)
        if node is None:
            return None
        silent_s = now - node.last_beat
        was, node.state = node.state, NodeState.ONLINE
        node.last_beat = node.silent_from = now
        back = None
        if was is not NodeState.ONLINE:
            back = Change(node_id, node.session_no, NodeState.ONLINE, silent_s, was)
        if not self.has_authority(now):
            return [], back
        return [lease for lease in reported if lease in node.leases], back

    # --- time --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Change]:
        """Call this several times a second. Returns nodes that became suspect or lost; a lost node's leases are
        void from this instant on, whatever happens to the write.

        Without authority nobody is judged: we are cut off, our agents are told to go elsewhere, and nothing was renewed.
        """
        self._forgive_stall(now)
        if self._authority_until != float("-inf") and not self.has_authority(now):
            for node in self._nodes.values():
                node.silent_from = max(node.silent_from, now + CUT_OFF_GRACE_S)
            return []
        suspect_after = SUSPECT_BEATS * self.interval_s
        lost_after = self.replace_s if self.replace_s is not None else replace_after_s(self.ttl_s)
        changes: list[Change] = []
        silent = [
            (node_id, node)
            for node_id, node in self._nodes.items()
            if node.state is not NodeState.LOST and now - node.silent_from >= suspect_after
        ]
        hold = self._mass_loss(len(silent), now)
        for node_id, node in silent:
            was = node.state
            if now - node.silent_from >= lost_after and not hold:
                node.state = NodeState.LOST
                node.leases.clear()
                self._lost_at.append(now)
            elif was is NodeState.ONLINE:
                node.state = NodeState.SUSPECT
            else:
                continue
            changes.append(Change(node_id, node.session_no, node.state, now - node.last_beat, was))
        return changes

    @property
    def holds_back(self) -> bool:
        """Whether losses are held back because too many nodes are silent at once."""
        return self._held_since is not None

    def _forgive_stall(self, now: float) -> None:
        late_s = 0.0 if self._last_tick is None else now - self._last_tick
        self._last_tick = now
        if late_s > STALL_S:
            # Frames may have piled up unread while we slept; nobody may be judged by that.
            for node in self._nodes.values():
                node.silent_from = min(now, node.silent_from + late_s)

    def _mass_loss(self, silent: int, now: float) -> bool:
        while self._lost_at and self._lost_at[0] < now - MASS_WINDOW_S:
            self._lost_at.popleft()
        standing = sum(node.state is not NodeState.LOST for node in self._nodes.values())
        at_risk, known = silent + len(self._lost_at), standing + len(self._lost_at)
        if silent == 0 or at_risk < MASS_NODES_MIN or at_risk <= known * MASS_FRACTION:
            self._held_since = None
            return False
        if self._held_since is None:
            self._held_since = now
        return now - self._held_since < MASS_HOLD_S

    def _session(self, node_id: str, session_id: str) -> _Session | None:
        node = self._nodes.get(node_id)
        return node if node is not None and node.session_id == session_id else None
