"""How a gateway that ends sends its agents away: all of them, in time, and not in one instant."""

import pytest
from gp4u_server.gateway.leaving import AGENTS_A_SECOND, LEAVE_S_MAX, SLICE_S, slices


@pytest.mark.parametrize("agents", [0, 1, 7, 49, 50, 51, 499, 500, 4_000, 4_001, 10_000, 100_000])
def test_all_go_evenly_and_in_time(agents: int) -> None:
    counts = slices(agents)
    assert sum(counts) == agents
    assert len(counts) * SLICE_S <= LEAVE_S_MAX + 1e-9
    assert max(counts, default=0) - min(counts, default=0) <= 1
    if agents <= AGENTS_A_SECOND * LEAVE_S_MAX:
        assert max(counts, default=0) <= AGENTS_A_SECOND * SLICE_S * 1.5


def test_a_few_go_at_once() -> None:
    assert slices(20) == [20]
