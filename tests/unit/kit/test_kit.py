"""The bottom layer: money, ids, cursors."""

import pytest
from gp4u_server.kit.ids import new_id
from gp4u_server.kit.money import Money, allocate, charge_for
from gp4u_server.kit.paging import InvalidCursor, decode_cursor, encode_cursor
from hypothesis import given
from hypothesis import strategies as st

HOUR_US = 3_600_000_000
amounts = st.integers(min_value=-(10**15), max_value=10**15)


@given(amounts, st.lists(st.integers(0, 10**6), min_size=1, max_size=8).filter(any))
def test_parts_always_sum_to_the_whole_and_are_off_by_less_than_one(total: int, weights: list[int]) -> None:
    parts = allocate(total, weights)
    assert sum(parts) == total
    assert all(
        abs(part * sum(weights) - total * weight) < sum(weights)
        for part, weight in zip(parts, weights, strict=True)
    )


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [2, -1]])
def test_impossible_weights_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError):
        allocate(10, weights)


@given(st.integers(0, 10**12), st.integers(0, 100 * HOUR_US))
def test_a_charge_is_the_exact_value_rounded_half_to_even(rate: int, time_us: int) -> None:
    charged = charge_for(rate, time_us)
    error = 2 * (charged * HOUR_US - rate * time_us)
    assert abs(error) <= HOUR_US
    if abs(error) == HOUR_US:
        assert charged % 2 == 0


@given(st.integers(0, 10**9), st.lists(st.integers(0, HOUR_US), max_size=10))
def test_where_the_slices_are_cut_makes_no_difference(rate: int, slices: list[int]) -> None:
    cumulated, posted = 0, 0
    for piece in slices:
        before, cumulated = charge_for(rate, cumulated), cumulated + piece
        posted += charge_for(rate, cumulated) - before
    assert posted == charge_for(rate, sum(slices))


def test_currencies_do_not_mix() -> None:
    assert Money(3) - Money(5) == Money(-2) == -Money(2)
    with pytest.raises(ValueError):
        Money(1, "USD") + Money(1, "EUR")


def test_ids_are_new_each_time_and_sort_by_age() -> None:
    ids = [new_id("job") for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(len(made) == 30 and made.startswith("job_") for made in ids)
    milliseconds = [made[4:14] for made in ids]
    assert milliseconds == sorted(milliseconds)


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=50), st.integers())
def test_a_cursor_comes_back_as_it_was(name: str, number: int) -> None:
    assert decode_cursor(encode_cursor(name, number), str, int) == [name, number]


@given(st.text(max_size=60))
def test_a_foreign_cursor_is_refused_and_never_breaks(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor(cursor, str, int, str)
