"""How long a gateway may renew leases, and when a controller may take a dead gateway's nodes. Pure.

A gateway writes its row every AUTHORITY_RENEW_S. It holds authority for AUTHORITY_WINDOW_S (shortened by the drift we
promise to survive) from the instant *before* it sent the write that succeeded. A controller takes its nodes only after
it watched the row stand still, on the controller's own monotonic clock, for the whole window lengthened by the drift,
plus the time after which the longest of its leases is certainly over. No wall clock decides anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gp4u_protocol.lease import DRIFT_MAX, LEASE_TTL_S, replace_after_s

AUTHORITY_WINDOW_S = 10.0
AUTHORITY_RENEW_S = 2.0
WATCH_GAP_S_MAX = 3.0
"""Reads further apart than this prove nothing: the database was away, for the gateways as well."""


def authority_until(sent_at: float, window_s: float = AUTHORITY_WINDOW_S) -> float:
    """The gateway's own deadline after a renewal that it began to send at `sent_at`."""
    return sent_at + window_s * (1 - DRIFT_MAX)


def takeover_after_s(ttl_s: float = LEASE_TTL_S, window_s: float = AUTHORITY_WINDOW_S) -> float:
    """How long a gateway's row must be seen standing still before its nodes are taken."""
    return window_s * (1 + DRIFT_MAX) + replace_after_s(ttl_s)


@dataclass
class AuthorityWatch:
    """A controller's observation of all gateways' rows. After a restart it starts from nothing."""

    ttl_s: float = LEASE_TTL_S
    window_s: float = AUTHORITY_WINDOW_S
    _seen: dict[str, tuple[datetime, float]] = field(default_factory=dict)
    _last_read: float | None = None

    def observe(
        self,
        rows: Mapping[str, datetime],
        read_began: float,
        read_ended: float,
        ttls_s: Mapping[str, float] | None = None,
    ) -> dict[str, datetime]:
        """`rows`: gateway id → its `renewed_at` as just read. Returns the gateways that are dead, with the value
        that must still stand when they are ended.

        `ttls_s`: gateway id → the longest TTL in the rows of its nodes, of the same read. A gateway notes a longer one
        before it grants it, so what it may have granted until its authority ended stands in every later read.
        """
        gap_s = read_ended - (self._last_read if self._last_read is not None else read_ended)
        if gap_s > WATCH_GAP_S_MAX or read_ended - read_began > WATCH_GAP_S_MAX:
            self._seen.clear()
        self._last_read = read_ended
        # A value first seen in this read was written before the read ended.
        self._seen = {
            gateway_id: (
                self._seen[gateway_id]
                if gateway_id in self._seen and self._seen[gateway_id][0] == renewed_at
                else (renewed_at, read_ended)
            )
            for gateway_id, renewed_at in rows.items()
        }
        longest = ttls_s or {}
        return {
            gateway_id: renewed_at
            for gateway_id, (renewed_at, since) in self._seen.items()
            if read_began - since
            >= takeover_after_s(max(self.ttl_s, longest.get(gateway_id, self.ttl_s)), self.window_s)
        }

    def missed(self) -> None:
        """A read failed: whatever was watched is void."""
        self._seen.clear()
