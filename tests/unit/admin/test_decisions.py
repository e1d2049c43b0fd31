"""Figures of failovers are measured ones, each with what it is of."""

import pytest
from gp4u_server.admin.decisions import nearest_rank, spreads
from gp4u_server.admin.types import Spread
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7], 0.5, 7),
        ([7], 0.99, 7),
        ([1, 2], 0.5, 1),
        ([1, 2, 3], 0.5, 2),
        (list(range(1, 101)), 0.5, 50),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 102)), 0.99, 100),
    ],
)
def test_nearest_rank(values: list[int], share: float, expected: int) -> None:
    assert nearest_rank(values, share) == expected


@given(st.lists(st.integers(0, 10**6), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_was_measured_and_covers_its_share(values: list[int], share: float) -> None:
    ordered = sorted(values)
    found = nearest_rank(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9
    assert sum(value < found for value in ordered) < share * len(ordered) + 1e-9


def test_each_phase_is_of_those_that_measured_it() -> None:
    found = spreads(
        [
            {"detect_ms": 5_000, "recovery_ms": 7_000, "first_step_ms": 9},
            {"detect_ms": 6_000, "restore_ms": 100, "recovery_ms": 8_000},
        ]
    )
    assert found == {
        "detect_ms": Spread(5_000, 6_000, 6_000),
        "restore_ms": Spread(100, 100, 100),
        "recovery_ms": Spread(7_000, 8_000, 8_000),
    }
    assert spreads([]) == {}
