"""The numbers of the lease protocol and the relation between them. docs/design/leases.md has the proof sketch.

A node may run a placement only while it holds the lease. The agent counts its deadline from the instant *it sent*
the heartbeat (or claim) that the gateway accepted; the gateway counts from the instant it *received* it, which is
never earlier. The shim freezes the job `ttl * (1 - DRIFT_MAX)` after the send; the server may place the job
elsewhere only `ttl * (1 + DRIFT_MAX) + GRACE_S` after the receipt. So freeze comes strictly before replace.

The TTL follows a node's link (`gp4u_server.catalyst.health.link_quality`), so both sides count with the TTL *of the
very answer* that renewed a lease: every answer carries its own.
"""

HEARTBEAT_INTERVAL_S = 1.0
LEASE_TTL_S = 5.0
"""On a good link, and the shortest."""
LEASE_TTL_MAX_S = 15.0
"""On the worst link that we still put up with."""
DRIFT_MAX = 0.05
"""Largest relative rate difference between two machines' monotonic clocks that we promise to survive."""
GRACE_S = 0.25
"""What the server waits beyond the bound, for the shim's timer and the freeze itself to take effect."""


def freeze_after_s(ttl_s: float = LEASE_TTL_S) -> float:
    """Seconds after its own send time at which the shim must have frozen the job."""
    return ttl_s * (1 - DRIFT_MAX)


def replace_after_s(ttl_s: float = LEASE_TTL_S) -> float:
    """Seconds after the last accepted heartbeat's receipt before which the server never replaces the node."""
    return ttl_s * (1 + DRIFT_MAX) + GRACE_S


for _ttl_s in (LEASE_TTL_S, LEASE_TTL_MAX_S):
    assert freeze_after_s(_ttl_s) / (1 - DRIFT_MAX) < replace_after_s(_ttl_s) / (1 + DRIFT_MAX), (
        "freeze must precede replace"
    )
