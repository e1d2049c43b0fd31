"""The node's half of the lease protocol, as pure cores: no clock, no socket, no process. See docs/design/leases.md.

All instants are seconds on the node's own CLOCK_BOOTTIME (it counts through a suspend, CLOCK_MONOTONIC does not),
taken by the caller. Agent and shim run on one machine, so a deadline made by one means the same to the other.

* `LeaseHolder` lives in the agent. It remembers when each heartbeat and claim was *sent* and turns the gateway's
  answers into deadlines. Take the send time before the frame is handed to the socket: early is safe, late is not.
* `shim_begin` / `shim_step` are the shim: freeze the job at the deadline, thaw it when a renewal proves the lease again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from gp4u_protocol.lease import LEASE_TTL_S, freeze_after_s

SENDS_REMEMBERED_MAX = 256
"""Unanswered sends kept; older ones are forgotten, and an answer to them would renew nothing anyway."""
ABANDON_AFTER_S = 86_400.0
"""Seconds that a frozen job is kept for a link that may come back."""
SILENT_BEATS = 2.5
"""Unanswered beats after which a link counts as half open, under the shortest TTL."""


def link_patience_s(interval_s: float, ttl_s: float) -> float:
    """How long an agent waits for an answer before it takes its link for half open and dials again: half a lease, which
    leaves the other half for a handshake elsewhere. A slow link that was given a longer lease is given this time, too."""
    return max(SILENT_BEATS * interval_s, SILENT_BEATS * ttl_s / LEASE_TTL_S)


class LeaseId(NamedTuple):
    """Which lease: one placement of one epoch."""

    placement_id: str
    epoch: int


class Renewal(NamedTuple):
    """Tell the shim of this placement its new deadline."""

    placement_id: str
    epoch: int
    deadline: float


@dataclass
class LeaseHolder:
    """What the agent knows of its leases. One instance for the agent's life; sessions come and go.

    `ttl_s` is the session's, for gateways whose answers carry none of their own. A deadline is made with the TTL that
    came with the very answer that sets it: the gateway counts with the same number from its receipt of the same frame.
    """

    session_id: str | None = None
    ttl_s: float = 0.0
    acked_seq: int | None = None
    """The newest heartbeat of this session that was answered: the next one says so, and the gateway learns how old the
    newest proof of our leases is, by its own clock alone."""
    _beats: dict[int, float] = field(default_factory=dict)
    _claims: dict[int, tuple[LeaseId, float]] = field(default_factory=dict)
    _deadlines: dict[LeaseId, float] = field(default_factory=dict)

    def begin_session(self, session_id: str, ttl_s: float) -> None:
        """A new connection was welcomed. Answers of the one before are void from here on; deadlines stay."""
        self.session_id = session_id
        self.ttl_s = ttl_s
        self.acked_seq = None
        self._beats.clear()
        self._claims.clear()

    def adopt(self, placement_id: str, epoch: int) -> None:
        """A shim of this placement was found after the agent's restart: heartbeats may renew it again."""
        self._deadlines.setdefault(LeaseId(placement_id, epoch), float("-inf"))

    def release(self, placement_id: str, epoch: int) -> None:
        """The placement is over here: late answers renew it no more."""
        self._deadlines.pop(LeaseId(placement_id, epoch), None)

    def deadline(self, placement_id: str, epoch: int) -> float | None:
        """The proven deadline; None where no lease is held, -inf where one was adopted and not yet renewed."""
        return self._deadlines.get(LeaseId(placement_id, epoch))

    def heartbeat_sent(self, seq: int, now: float) -> None:
        """Heartbeat `seq` of this session is about to be sent, at `now`."""
        self._beats[seq] = now
        _forget_oldest(self._beats)

    def claim_sent(self, seq: int, placement_id: str, epoch: int, now: float) -> None:
        """Claim `seq` of this session is about to be sent, at `now`."""
        self._claims[seq] = (LeaseId(placement_id, epoch), now)
        _forget_oldest(self._claims)

    def heartbeat_acked(
        self, session_id: str, seq: int, renewed: Iterable[tuple[str, int]], ttl_s: float | None = None
    ) -> list[Renewal]:
        """The gateway accepted heartbeat `seq` and renewed these (placement, epoch) pairs from its send time, for
        `ttl_s` (None: the session's).

        Placements that this agent neither claimed nor adopted are ignored, and so are answers of another session
        or to a heartbeat that was never sent. Only deadlines that moved forward are returned.
        """
        if session_id != self.session_id or (sent_at := self._beats.pop(seq, None)) is None:
            return []
        if self.acked_seq is None or seq > self.acked_seq:
            self.acked_seq = seq
        renewals = []
        for placement_id, epoch in renewed:
            lease = LeaseId(placement_id, epoch)
            if lease in self._deadlines and (renewal := self._extend(lease, sent_at, ttl_s)):
                renewals.append(renewal)
        return renewals

    def claim_granted(
        self, session_id: str, seq: int, placement_id: str, epoch: int, ttl_s: float | None = None
    ) -> Renewal | None:
        """The gateway granted claim `seq` for `ttl_s`. None when the answer is stale; then nothing may be started.

        The deadline may already be past when the answer was slow: the caller compares it with now, and the shim
        freezes at once in any case.
        """
        lease = LeaseId(placement_id, epoch)
        if session_id != self.session_id or self._claims.get(seq, (None, 0.0))[0] != lease:
            return None
        _, sent_at = self._claims.pop(seq)
        self._deadlines.setdefault(lease, float("-inf"))
        return self._extend(lease, sent_at, ttl_s)

    def _extend(self, lease: LeaseId, sent_at: float, ttl_s: float | None) -> Renewal | None:
        deadline = sent_at + freeze_after_s(self.ttl_s if ttl_s is None else ttl_s)
        if deadline <= self._deadlines[lease]:
            return None
        self._deadlines[lease] = deadline
        return Renewal(lease.placement_id, lease.epoch, deadline)


def _forget_oldest(sends: dict[int, Any]) -> None:
    while len(sends) > SENDS_REMEMBERED_MAX:
        del sends[next(iter(sends))]


# --- the shim --------------------------------------------------------------------------------------------


class Effect(StrEnum):
    """What the shim must do to the job, at once and in order."""

    FREEZE = "freeze"
    THAW = "thaw"
    KILL_JOB = "kill_job"


@dataclass(frozen=True)
class Renew:
    """The agent proved the lease up to `deadline`."""

    deadline: float


@dataclass(frozen=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True)
class Kill:
    """The agent says: end the job (superseded, stopped, or no longer wanted)."""


@dataclass(frozen=True)
class JobExited:
    """The job's process ended."""


ShimEvent = Renew | Tick | Kill | JobExited


@dataclass(frozen=True)
class ShimState:
    """What the shim remembers. `wake_at` is when it needs its next Tick at the latest; None: never again."""

    deadline: float
    abandon_after_s: float = ABANDON_AFTER_S
    frozen_since: float | None = None
    killed: bool = False
    exited: bool = False

    @property
    def wake_at(self) -> float | None:
        if self.killed or self.exited:
            return None
        if self.frozen_since is None:
            return self.deadline
        return self.frozen_since + self.abandon_after_s


def shim_begin(
    deadline: float, now: float, abandon_after_s: float = ABANDON_AFTER_S
) -> tuple[ShimState, tuple[Effect, ...]]:
    """The job was just started under `deadline`; a deadline already past freezes it at once."""
    return shim_step(ShimState(deadline, abandon_after_s), Tick(), now)


def shim_step(state: ShimState, event: ShimEvent, now: float) -> tuple[ShimState, tuple[Effect, ...]]:
    """One event at `now`. The job runs only while now < deadline; a deadline never moves backwards."""
    if state.killed or state.exited:
        return state, ()
    if isinstance(event, JobExited):
        return replace(state, exited=True), ()
    if isinstance(event, Kill):
        return replace(state, killed=True), (Effect.KILL_JOB,)
    if isinstance(event, Renew) and event.deadline > state.deadline:
        state = replace(state, deadline=event.deadline)

    proven = now < state.deadline
    if state.frozen_since is None:
        return (state, ()) if proven else (replace(state, frozen_since=now), (Effect.FREEZE,))
    # A renewal outranks abandonment: the link is back and the epoch is still ours.
    if proven:
        return replace(state, frozen_since=None), (Effect.THAW,)
    if now >= state.frozen_since + state.abandon_after_s:
        return replace(state, killed=True), (Effect.KILL_JOB,)
    return state, ()
