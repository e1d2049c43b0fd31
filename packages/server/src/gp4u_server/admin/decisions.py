"""Statistics of failovers, pure."""

from collections.abc import Iterable, Mapping, Sequence

from gp4u_server.admin.types import PHASES, Spread


def nearest_rank(ordered: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` (0 < share ≤ 1) of `ordered` do not exceed. It was measured, never made up.

    `ordered` is ascending and not empty.
    """
    rank = -(-len(ordered) * round(share * 1000) // 1000)
    return ordered[max(0, rank - 1)]


def spreads(recoveries: Iterable[Mapping[str, int]]) -> dict[str, Spread]:
    """p50, p99 and maximum of each phase over those failovers that measured it; a phase that none measured is left out."""
    measured = list(recoveries)
    found = {}
    for phase in PHASES:
        values = sorted(recovery[phase] for recovery in measured if phase in recovery)
        if values:
            found[phase] = Spread(nearest_rank(values, 0.5), nearest_rank(values, 0.99), values[-1])
    return found
