"""The gateway's memory of its nodes: who beat last, whose leases a beat renews, who is suspect, who is lost.

Pure: all instants are seconds on the gateway's own monotonic clock, given by the caller. Nothing is forgotten in a
hurry: silence is counted from the *receipt* of the last accepted beat, which is never earlier than its send.

**The TTL of each node follows its link** (`link_quality`). Every answer carries the TTL it grants, and a node is lost only
after `replace_after_s` of *each* of them, counted from the receipt that each answered: `_Session.void_at` is the latest of
these. What an earlier session or another gateway may have granted is bounded by the node's row in the database, so a
longer TTL is noted there before the first answer carries it, and a shorter one only after the longer can be in force no
more (`notes_due`, `noted`).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from gp4u_protocol.lease import (
    HEARTBEAT_INTERVAL_S,
    LEASE_TTL_MAX_S,
    LEASE_TTL_S,
    freeze_after_s,
    replace_after_s,
)
from gp4u_protocol.lease_core import LeaseId

from gp4u_server.catalyst.health.link_quality import SHRINK_EVERY_S, LinkQuality, Ttl, TtlBounds, next_ttl

SUSPECT_BEATS = 2.5
"""Missed intervals after which a node with the shortest TTL is suspect; in proportion with a longer one."""
RECEIPTS_MAX = 64
"""Beats whose answers may be on their way; of older ones the receipt is forgotten."""
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
    `ttl_s`: what the last answer before the silence granted (None: the platform's shortest).
    """

    node_id: str
    session_no: int
    state: NodeState
    silent_s: float
    was: NodeState
    ours: bool = False
    ttl_s: float | None = None


class Answer(NamedTuple):
    """To a heartbeat: the leases it renews, the node's return if it was away, and for how long it renews."""

    renewed: list[LeaseId]
    back: Change | None
    ttl_s: float


class TtlNote(NamedTuple):
    """Write into the node's row, if this is still its session, that leases last so long; then call `noted`."""

    node_id: str
    session_no: int
    ttl_s: float
    why: str | None


@dataclass(slots=True)
class _Session:
    session_id: str
    session_no: int
    last_beat: float
    silent_from: float  # as last_beat, moved forward by our own stalls
    link: LinkQuality
    ttl_s: float  # of the answers now; never above noted_s
    noted_s: float  # the node's row says at least this, for certain
    void_at: float  # no lease that anybody may have granted is in force after this instant
    longer_until: float  # nor one of more than ttl_s after this one
    state: NodeState = NodeState.ONLINE
    leases: set[LeaseId] = field(default_factory=set)
    wanted: Ttl | None = None  # longer than noted_s
    why: str | None = None
    told: tuple[float, str | None] | None = None  # what the row says for certain
    seq: int = 0
    acked_seq: int | None = None
    receipts: dict[int, float] = field(default_factory=dict)  # of beats from the newest acked one on


@dataclass
class LeaseTable:
    """One per gateway process."""

    interval_s: float = HEARTBEAT_INTERVAL_S
    ttl_s: float = LEASE_TTL_S
    ttl_max_s: float = LEASE_TTL_MAX_S
    shrink_every_s: float = SHRINK_EVERY_S

    _nodes: dict[str, _Session] = field(default_factory=dict)
    _authority_until: float = float("-inf")
    _last_tick: float | None = None
    _lost_at: deque[float] = field(default_factory=deque)
    _held_since: float | None = None

    def __post_init__(self) -> None:
        self._bounds = TtlBounds(self.ttl_s, self.ttl_max_s, self.shrink_every_s)

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
        if lapsed_s == float("inf"):
            return []
        return [
            Change(node_id, node.session_no, NodeState.ONLINE, lapsed_s, NodeState.ONLINE, ttl_s=node.ttl_s)
            for node_id, node in self._nodes.items()
            if node.state is NodeState.ONLINE and node.leases and lapsed_s > freeze_after_s(node.ttl_s)
        ]

    def revoke_all(self) -> list[str]:
        """Another process took our nodes over: forget everything. Returns the nodes that were held."""
        held = list(self._nodes)
        self._nodes.clear()
        self._authority_until = float("-inf")
        return held

    # --- sessions ----------------------------------------------------------------------------------------

    def opened(
        self,
        node_id: str,
        session_id: str,
        session_no: int,
        leases: Iterable[LeaseId],
        now: float,
        *,
        noted_s: float | None = None,
        resumed: bool = False,
    ) -> float:
        """A node proved its key; answers the TTL that its session begins with. `leases`: its claimed placements as the
        database has them at this session's start, `noted_s`: the TTL that the node's row said and says (None: the shortest).

        Silence counts from now: whatever an earlier session or gateway renewed was sent before this instant, and for
        `noted_s` at most. `resumed`: an agent that was there before lost us, so its silence says something of its link.
        """
        longest_s = max(noted_s or 0.0, self.ttl_s)
        ttl_s = self._bounds.clamp(longest_s)
        before = self._nodes.get(node_id)
        link = before.link if before is not None else LinkQuality(self.interval_s, now)
        if before is not None and resumed:
            away_s = now - before.silent_from
            if 0.0 < away_s <= self.ttl_max_s:  # longer, and it was no matter of the link's quality
                link.beat(now, gap_s=away_s, wait_s=away_s)
        void_at = now + replace_after_s(longest_s)
        self._nodes[node_id] = _Session(
            session_id,
            session_no,
            now,
            now,
            link,
            ttl_s,
            longest_s,
            void_at,
            void_at,
            leases=set(leases),
            why=None if ttl_s <= self.ttl_s else (before.why if before is not None else None) or "as before",
            told=(longest_s, None) if longest_s <= self.ttl_s else None,
        )
        return ttl_s

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

    def counted(self) -> dict[NodeState, int]:
        """How many nodes are in each state."""
        counts = dict.fromkeys(NodeState, 0)
        for node in self._nodes.values():
            counts[node.state] += 1
        return counts

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
        # The claim came in before the last sign of life did, or was it.
        node.void_at = max(node.void_at, node.last_beat + replace_after_s(node.ttl_s))
        return True

    def ttl_of(self, node_id: str) -> float:
        """What answers to this node grant now."""
        node = self._nodes.get(node_id)
        return self.ttl_s if node is None else node.ttl_s

    def keep_only(self, node_id: str, leases: Iterable[LeaseId]) -> None:
        """The database's live placements of the node were read: leases that are no longer among them are over."""
        node = self._nodes.get(node_id)
        if node is not None:
            node.leases &= set(leases)

    def beat(
        self,
        node_id: str,
        session_id: str,
        reported: Iterable[LeaseId],
        now: float,
        seq: int = 0,
        acked_seq: int | None = None,
    ) -> Answer | None:
        """A heartbeat was received at `now`: which of the `reported` leases it renews, for how long, and the node's return
        if it was away. None: not this node's session any more; answer nothing.

        `acked_seq`: the newest beat whose answer had arrived when this one was sent, from agents that take their TTL from
        answers; the TTL of others stays as it is for the session.
        """
        node = self._session(node_id, session_id)
        if node is None:
            return None
        silent_s = now - node.last_beat
        was, node.state = node.state, NodeState.ONLINE
        before_s = node.ttl_s
        if acked_seq is not None:
            self._learn(node, seq, acked_seq, now)
        if seq > node.seq:
            node.seq = seq
            node.receipts[seq] = now
        node.last_beat = node.silent_from = now
        back = None
        if was is not NodeState.ONLINE:
            back = Change(node_id, node.session_no, NodeState.ONLINE, silent_s, was, ttl_s=before_s)
        elif node.leases and silent_s > freeze_after_s(before_s):
            # Never suspect, and nothing heard for a whole lease: we stood still ourselves, and its jobs were frozen.
            back = Change(node_id, node.session_no, NodeState.ONLINE, silent_s, was, ttl_s=before_s)
        if not self.has_authority(now):
            return Answer([], back, node.ttl_s)
        node.void_at = max(node.void_at, now + replace_after_s(node.ttl_s))
        return Answer([lease for lease in reported if lease in node.leases], back, node.ttl_s)

    # --- how long leases last ------------------------------------------------------------------------------

    def _learn(self, node: _Session, seq: int, acked_seq: int, now: float) -> None:
        receipts = node.receipts
        if acked_seq != node.acked_seq:
            node.acked_seq = acked_seq
            for old in [old for old in receipts if old < acked_seq]:
                del receipts[old]
        while len(receipts) >= RECEIPTS_MAX:
            del receipts[next(iter(receipts))]
        if self._last_tick is not None and now - self._last_tick > STALL_S:
            return  # our own loop was late: what waited unread meanwhile says nothing about the link
        wait_s = now - receipts.get(acked_seq, node.silent_from)
        node.link.beat(
            now,
            gap_s=min(now - node.silent_from, self.ttl_max_s),
            wait_s=min(wait_s, self.ttl_max_s),
            missed=min(max(0, seq - node.seq - 1), RECEIPTS_MAX),
        )
        changed = next_ttl(node.link, node.ttl_s, now, self._bounds)
        if changed is None:
            node.wanted = None  # if it asked for a longer one, it does so no more
        else:
            self._ask(node, changed)

    def ask_for(self, node_id: str, ttl: Ttl) -> None:
        """Let this node's leases last so long, as soon as that is safe."""
        if (node := self._nodes.get(node_id)) is not None:
            self._ask(node, ttl)

    def _ask(self, node: _Session, ttl: Ttl) -> None:
        if ttl.ttl_s <= node.noted_s:
            self._change_ttl(node, ttl)
        else:
            node.wanted = ttl

    def _change_ttl(self, node: _Session, ttl: Ttl) -> None:
        if ttl.ttl_s < node.ttl_s:
            # Everything answered so far was answered with the longer one.
            node.longer_until = node.void_at
        node.ttl_s, node.why = ttl
        node.wanted = None

    def notes_due(self, now: float) -> list[TtlNote]:
        """What to write into nodes' rows. One write of a node after another: ask again only when those of before are over,
        come what came of them; `noted` tells which were written."""
        notes = []
        for node_id, node in self._nodes.items():
            if node.wanted is not None:
                node.told = None
                notes.append(TtlNote(node_id, node.session_no, *node.wanted))
            elif now >= node.longer_until and node.told != (node.ttl_s, node.why):
                # From here on the row may say the shorter one, whether we hear of it or not.
                node.noted_s = node.ttl_s
                node.told = None
                notes.append(TtlNote(node_id, node.session_no, node.ttl_s, node.why))
        return notes

    def noted(self, note: TtlNote) -> None:
        """The node's row says so."""
        node = self._nodes.get(note.node_id)
        if node is None or node.session_no != note.session_no:
            return
        node.noted_s = note.ttl_s
        node.told = (note.ttl_s, note.why)
        if node.wanted is not None and note.ttl_s > node.ttl_s:
            self._change_ttl(node, Ttl(note.ttl_s, note.why))

    @property
    def longer_ttls(self) -> list[float]:
        """The TTLs of the nodes whose link needs more than the shortest."""
        return [node.ttl_s for node in self._nodes.values() if node.ttl_s > self.ttl_s]

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
        suspect_per_ttl = SUSPECT_BEATS * self.interval_s / self.ttl_s
        changes: list[Change] = []
        silent = [
            (node_id, node)
            for node_id, node in self._nodes.items()
            if node.state is not NodeState.LOST and now - node.silent_from >= suspect_per_ttl * node.ttl_s
        ]
        if not silent:
            self._held_since = None
            return []
        hold = self._mass_loss(len(silent), now)
        for node_id, node in silent:
            was = node.state
            if now >= node.void_at and now - node.silent_from >= replace_after_s(node.ttl_s) and not hold:
                node.state = NodeState.LOST
                node.leases.clear()
                self._lost_at.append(now)
            elif was is NodeState.ONLINE:
                node.state = NodeState.SUSPECT
            else:
                continue
            silent_s = now - node.last_beat
            changes.append(Change(node_id, node.session_no, node.state, silent_s, was, ttl_s=node.ttl_s))
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
                node.receipts.clear()  # nor may their links

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
