"""What a node's record says, against figures worked out elsewhere."""

import math
import random

import pytest
from gp4u_server.nodes.gamma import gamma_cdf, gamma_quantile
from gp4u_server.nodes.reliability import (
    DAY_S,
    HORIZON_H,
    PRIOR_RATE_H,
    PRIOR_SHAPE,
    record_of,
    survival,
)


@pytest.mark.parametrize("x", [0.01, 0.5, 1.0, 3.0, 20.0])
def test_shape_one_is_the_exponential_distribution(x: float) -> None:
    assert gamma_cdf(x, 1.0) == pytest.approx(1 - math.exp(-x), rel=1e-9)


def test_shape_two_is_a_sum_of_two_exponentials() -> None:
    assert gamma_cdf(3.0, 2.0) == pytest.approx(1 - math.exp(-3) * 4, rel=1e-9)


@pytest.mark.parametrize("shape", [0.5, 1.1, 4.1, 120.0, 3000.0])
@pytest.mark.parametrize("probability", [0.05, 0.5, 0.95])
def test_a_quantile_is_the_inverse(shape: float, probability: float) -> None:
    x = gamma_quantile(probability, shape, 2.0)
    assert gamma_cdf(2.0 * x, shape) == pytest.approx(probability, abs=1e-8)


@pytest.mark.parametrize(("losses", "days"), [(0, 0), (0, 41), (3, 41), (12, 41), (1, 400)])
def test_the_interval_holds_nine_tenths_of_what_may_be_true(losses: int, days: float) -> None:
    record = record_of(losses, days * DAY_S, 0.0)
    assert record.reliability_low < record.reliability < record.reliability_high
    chance = random.Random(losses + int(days))
    draws = 20_000
    shape, rate_h = PRIOR_SHAPE + losses, PRIOR_RATE_H + days * 24
    survived = [math.exp(-HORIZON_H * chance.gammavariate(shape, 1 / rate_h)) for _ in range(draws)]
    inside = sum(record.reliability_low <= value <= record.reliability_high for value in survived) / draws
    assert inside == pytest.approx(0.90, abs=0.015)
    assert sum(survived) / draws == pytest.approx(survival(losses, days * DAY_S), abs=0.002)


def test_more_seen_is_known_better() -> None:
    little, much = record_of(0, DAY_S, 0.0), record_of(0, 400 * DAY_S, 0.0)
    assert much.reliability_high - much.reliability_low < little.reliability_high - little.reliability_low


def test_uptime_is_the_share_of_the_time_it_was_meant_to_be_there() -> None:
    record = record_of(4, 40.631 * DAY_S, 0.369 * DAY_S)
    assert record.uptime == pytest.approx(0.991)
    assert record.sentence == "99.1 %, 41 days seen"
    assert record_of(0, 0.0, 0.0).sentence == "never seen"
    assert record_of(0, 7200.0, 0.0).sentence == "100.0 %, 2 hours seen"
    assert record_of(1, 100 * DAY_S, 1.0).sentence.startswith("99.9 %")  # never rounded up to flawless
