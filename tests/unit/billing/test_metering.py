"""The pure meter: what is billed is the confirmed time, to the micro-unit, however it is cut, told or repeated."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from gp4u_server.billing.metering import (
    Ended,
    Event,
    Interrupted,
    Meter,
    Ran,
    Restored,
    billable_us,
    lose,
    lost_us,
    observe,
    owed_micros,
    post,
    receipt_lines,
)
from gp4u_server.billing.types import Why
from gp4u_server.kit.money import allocate, charge_for
from hypothesis import given
from hypothesis import strategies as st

from tests.checks.scale import scaled

T0 = datetime(2026, 1, 1, tzinfo=UTC)
RATE = 440_000


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def metered(*events: Event, meter: Meter | None = None) -> Meter:
    meter = meter or Meter(RATE, 80)
    for event in events:
        meter, _ = observe(meter, event)
    return meter


def seconds_of(meter: Meter) -> float:
    return billable_us(meter, at(10**6)) / 1e6


def test_time_runs_from_ready_to_the_end() -> None:
    assert seconds_of(metered(Ran(at(3)), Ended(at(10)))) == 7


def test_a_placement_that_never_ran_costs_nothing() -> None:
    meter = metered(Ended(at(10)))
    assert owed_micros(meter, at(10)) == 0
    assert receipt_lines(meter) == []


def test_an_end_takes_back_what_counted_after_it() -> None:
    meter = metered(Ran(at(0)), Interrupted(at(15)), Restored(at(18)), Interrupted(at(20)), Restored(at(22)))
    ended, effects = observe(meter, Ended(at(12)))
    assert seconds_of(ended) == 12
    assert [(effect.interval.seq, effect.interval.ended_at) for effect in effects] == [
        (0, at(12)),
        (1, at(18)),
        (2, at(22)),
    ]
    assert [(line.started_at, line.ended_at, line.why) for line in receipt_lines(ended)] == [
        (at(0), at(12), Why.RAN)
    ]
    assert seconds_of(observe(meter, Ended(at(19)))[0]) == 16


def test_frozen_time_is_free_and_on_the_bill() -> None:
    meter = metered(Ran(at(0)), Interrupted(at(10)), Restored(at(25)), Ended(at(30)))
    assert seconds_of(meter) == 15
    assert [(line.why, line.billed) for line in receipt_lines(meter)] == [
        (Why.RAN, True),
        (Why.FROZEN, False),
        (Why.RAN, True),
    ]


def test_a_gap_shorter_than_the_lease_is_one_line() -> None:
    meter = metered(Ran(at(0)), Interrupted(at(10)), Restored(at(10)), Ended(at(30)))
    assert [(line.started_at, line.ended_at) for line in receipt_lines(meter)] == [(at(0), at(30))]


def test_lost_work_is_free_and_on_the_bill() -> None:
    meter = lose(metered(Ran(at(0)), Interrupted(at(30)), Ended(at(30))), at(20))
    assert seconds_of(meter) == 20
    assert lost_us(meter, at(30)) == 10_000_000
    assert [(line.why, line.started_at, line.ended_at) for line in receipt_lines(meter)] == [
        (Why.RAN, at(0), at(20)),
        (Why.LOST_WORK, at(20), at(30)),
    ]


def test_all_is_lost_when_nothing_was_saved() -> None:
    assert seconds_of(lose(metered(Ran(at(5)), Ended(at(30))), None)) == 0


def test_a_checkpoint_from_before_the_start_does_not_bill_earlier_time() -> None:
    assert seconds_of(lose(metered(Ran(at(5)), Ended(at(30))), at(-100))) == 0


@pytest.mark.parametrize(
    "events",
    [
        [Ran(at(0)), Ran(at(4)), Ended(at(10))],
        [Ran(at(0)), Restored(at(2)), Ended(at(10)), Ended(at(20))],
        [Ran(at(0)), Ended(at(10)), Ran(at(11)), Interrupted(at(12)), Restored(at(13))],
        [Interrupted(at(-5)), Ran(at(0)), Ended(at(10)), Interrupted(at(3))],
    ],
)
def test_h4_double_charge_facts_told_twice_or_late_bill_once(events: list[Event]) -> None:
    assert seconds_of(metered(*events)) == 10


def test_h7_a_clock_that_steps_back_never_bills_a_second_twice() -> None:
    meter = metered(Ran(at(0)), Interrupted(at(10)), Restored(at(4)), Ended(at(12)))
    assert seconds_of(meter) == 12
    assert seconds_of(metered(Ran(at(10)), Ended(at(4)))) == 0


def test_h4_double_charge_time_of_an_earlier_epoch_is_not_billed_again() -> None:
    meter = metered(Ran(at(5)), Ended(at(20)), meter=Meter(RATE, 80, floor=at(8)))
    assert seconds_of(meter) == 12


FACTS = st.builds(
    lambda kind, second: kind(at(second)),
    st.sampled_from([Ran, Restored, Interrupted, Ended]),
    st.integers(-50, 500),
)


@given(st.lists(FACTS, max_size=30), st.integers(-50, 500))
def test_h4_double_charge_intervals_never_overlap_whatever_is_told(facts: list[Event], saved: int) -> None:
    meter = metered(*facts)
    ends = [(interval.started_at, interval.ended_at) for interval in meter.intervals]
    for (_, end), (start, _) in pairwise(ends):
        assert end is not None
        assert start >= end
    assert all(end is None or end >= start for start, end in ends)
    lost = lose(meter, at(saved))
    until = at(600)
    assert billable_us(lost, until) + lost_us(lost, until) == billable_us(meter, until)
    if meter.open_interval is None:
        billed = sum(
            ((line.ended_at or until) - line.started_at).total_seconds()
            for line in receipt_lines(lost)
            if line.billed
        )
        assert billed == billable_us(lost, until) / 1e6


@given(
    st.integers(1, 10**10),
    st.integers(0, 100),
    st.lists(st.integers(0, 10**9), max_size=40),
    st.integers(0, 10**9),
)
def test_h14_rounding_where_the_time_is_cut_changes_no_total(
    rate: int, share: int, cuts_us: list[int], end_us: int
) -> None:
    meter = metered(Ran(T0), meter=Meter(rate, share))
    owner = platform = 0
    for cut in [*sorted(min(cut, end_us) for cut in cuts_us), end_us]:
        meter, posting, unpaid = post(meter, T0 + timedelta(microseconds=cut), payable_micros=10**18)
        assert posting.amount_micros == posting.owner_micros + posting.platform_micros
        assert posting.owner_micros >= 0
        assert posting.platform_micros >= 0
        assert unpaid == 0
        owner += posting.owner_micros
        platform += posting.platform_micros
    assert owner + platform == charge_for(rate, end_us)
    assert [owner, platform] == allocate(owner + platform, [share, 100 - share])


@given(st.integers(1, 10**10), st.integers(0, 100), st.integers(0, 10**10), st.integers(0, 10**10))
def test_h14_rounding_a_refund_takes_back_exactly_the_parts_it_gave(
    rate: int, share: int, ran_us: int, saved_us: int
) -> None:
    end = T0 + timedelta(microseconds=ran_us)
    saved = min(T0 + timedelta(microseconds=saved_us), end)
    meter = metered(Ran(T0), Ended(end), meter=Meter(rate, share))
    charged, charge, _ = post(meter, end, payable_micros=10**18)
    final, refund, _ = post(lose(charged, saved), end, payable_micros=0)
    assert refund.amount_micros <= 0
    kept = charge.amount_micros + refund.amount_micros
    assert kept == charge_for(rate, min(saved_us, ran_us)) == final.net_micros
    parts = [charge.owner_micros + refund.owner_micros, charge.platform_micros + refund.platform_micros]
    assert parts == allocate(kept, [share, 100 - share])


def test_h14_rounding_random_splits_sum_to_the_whole() -> None:
    generator = random.Random(14)
    for _ in range(scaled(100_000)):
        total = generator.randrange(-(10**15), 10**15)
        weights = [generator.randrange(0, 1000) for _ in range(generator.randrange(1, 6))] + [1]
        parts = allocate(total, weights)
        assert sum(parts) == total
        assert all(
            abs(part * sum(weights) - total * weight) < sum(weights)
            for part, weight in zip(parts, weights, strict=True)
        )


@given(st.integers(1, 10**9), st.integers(0, 10**10), st.integers(0, 10**9))
def test_h12_negative_balance_no_more_is_charged_than_can_be_paid(
    rate: int, ran_us: int, payable: int
) -> None:
    end = T0 + timedelta(microseconds=ran_us)
    meter, posting, unpaid = post(
        metered(Ran(T0), Ended(end), meter=Meter(rate, 80)), end, payable_micros=payable
    )
    assert 0 <= posting.amount_micros <= payable
    assert posting.amount_micros + unpaid == charge_for(rate, ran_us)
    assert meter.net_micros == posting.amount_micros
