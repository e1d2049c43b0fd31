"""When the nodes of a dead gateway may be declared lost. Pure.

That a gateway is dead says nothing about its nodes: they are on their way to another one, and a large fleet stands in a
queue there for minutes. So their losses are held back while nodes still leave the dead gateway for others, and while there
is no gateway to which they could go. Holding back is always safe: leases are claimed by agents and end by themselves, a
loss that is declared later only lets the job begin later elsewhere. What it costs is that job's time, so it is bounded.

All instants are seconds on the controller's own monotonic clock, given by the caller.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from gp4u_server.catalyst.health.authority import AUTHORITY_RENEW_S, WATCH_GAP_S_MAX
from gp4u_server.catalyst.health.lease_table import MASS_NODES_MIN

STILL_S = 2.5 * AUTHORITY_RENEW_S
"""A gateway whose row was seen standing still for this long is watched for nodes that leave it. No verdict yet."""
QUIET_S = 10.0
"""When nobody left a dead gateway for this long, nobody is on the way any more. An agent's slowest attempt takes as long: 3 s to
open, 5 s for the handshake, 2 s of pause. A takeover comes after 16 s at the earliest: what is back within 6 s delays nobody."""
HOLD_S_MAX = 300.0
"""Then the rest is lost, whoever still leaves. 10,000 nodes at 60 a second are back after 170 s."""


class Verdict(NamedTuple):
    """Of one look."""

    free: frozenset[str]
    """Gateways that ended and whose nodes may be declared lost."""
    held: frozenset[str]
    """Gateways that ended and whose nodes are held back from this look on."""


@dataclass
class _Leaving:
    left: int
    most: int
    since: float
    quiet_from: float
    free: bool = False


@dataclass
class Departures:
    """A controller's observation of nodes that leave silent gateways. After a restart it starts from nothing."""

    _stamps: dict[str, datetime] | None = None
    _stood_from: dict[str, float] = field(default_factory=dict)
    _renewed_at: float = float("-inf")  # when some gateway was last seen to renew
    _leaving: dict[str, _Leaving] = field(default_factory=dict)
    _told: frozenset[str] = frozenset()
    _last_look: float | None = None

    def standing_still(self, rows: Mapping[str, datetime], now: float) -> set[str]:
        """`rows`: gateway → its `renewed_at` as just read, of those that have not ended. Returns those that may be dead."""
        known, self._stamps = self._stamps, dict(rows)
        if known is None:
            self._stood_from = dict.fromkeys(rows, now)
            return set()
        moved = {key for key, renewed_at in rows.items() if known.get(key) != renewed_at}
        if moved:
            self._renewed_at = now
        self._stood_from = {key: now if key in moved else self._stood_from[key] for key in rows}
        return {key for key, since in self._stood_from.items() if now - since >= STILL_S}

    def observe(self, left: Mapping[str, int], ended: Collection[str], now: float) -> Verdict:
        """`left`: gateway → how many nodes it still has to its name; of those that `ended` and those that stand still.

        Call it after `standing_still` of the same look. Looks further apart than `WATCH_GAP_S_MAX` count for nothing: while
        the database was away nobody could leave.
        """
        gap_s = now - (self._last_look if self._last_look is not None else now)
        self._last_look = now
        nowhere_to_go = now - self._renewed_at >= STILL_S
        self._leaving = {key: self._seen(key, nodes, now) for key, nodes in left.items() if nodes}
        for key, each in self._leaving.items():
            if nowhere_to_go:
                each.free, each.since, each.quiet_from = False, now, now
            if each.free:
                continue  # from here on it is the losses that make them fewer
            if gap_s > WATCH_GAP_S_MAX:
                each.since = min(now, each.since + gap_s)
                each.quiet_from = min(now, each.quiet_from + gap_s)
            over = now - each.quiet_from >= QUIET_S or now - each.since >= HOLD_S_MAX
            each.free = key in ended and over
        free = frozenset(key for key, each in self._leaving.items() if each.free)
        held = frozenset(self._leaving.keys() & set(ended)) - free
        new, self._told = held - self._told, held
        return Verdict(free, new)

    def _seen(self, gateway_id: str, nodes: int, now: float) -> _Leaving:
        before = self._leaving.get(gateway_id)
        if before is None:
            # One or two are no fleet: nobody waits for them.
            return _Leaving(nodes, nodes, now, now if nodes >= MASS_NODES_MIN else float("-inf"))
        if nodes < before.left and before.most >= MASS_NODES_MIN:
            before.quiet_from = now
        before.left, before.most = nodes, max(before.most, nodes)
        return before
