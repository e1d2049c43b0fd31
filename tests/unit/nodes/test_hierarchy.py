"""What a node's model and owner say of it before it is known: against integrals, and against a world made up by chance."""

import math
import random

import pytest
from gp4u_server.nodes.reliability import (
    PRIOR_RATE_H,
    PRIOR_SHAPE,
    PUBLISHED,
    Prior,
    Tally,
    fleet_hazard_per_hour,
    hazard_per_hour,
    owner_factor,
    prior_of,
    record_of,
    survival,
)
from gp4u_server.nodes.score_repository import Sums
from gp4u_server.nodes.scores import prior_from
from hypothesis import given
from hypothesis import strategies as st

YEAR_H = 8760.0


def posterior_mean(shape: float, rate: float, losses: int, exposure: float) -> float:
    """E[x | losses] for x ~ Gamma(shape, rate), losses ~ Poisson(x * exposure), by summing over a fine grid."""
    top = (shape + losses + 12 * math.sqrt(shape + losses) + 12) / (rate + exposure)
    step = top / 40_000
    mass = total = 0.0
    for number in range(1, 40_001):
        x = number * step
        weight = math.exp((shape - 1 + losses) * math.log(x) - (rate + exposure) * x)
        mass += weight
        total += weight * x
    return total / mass


@pytest.mark.parametrize(("losses", "expected"), [(0, 0.0), (0, 3.0), (2, 0.5), (9, 3.0)])
def test_the_owners_factor_is_the_posterior_mean(losses: int, expected: float) -> None:
    assert owner_factor(losses, expected) == pytest.approx(
        posterior_mean(PRIOR_SHAPE, PRIOR_SHAPE, losses, expected), rel=1e-3
    )


@pytest.mark.parametrize(("losses", "hours"), [(0, 0.0), (0, 900.0), (3, 900.0), (1, 20_000.0)])
def test_fleet_and_node_hazards_are_posterior_means(losses: int, hours: float) -> None:
    assert fleet_hazard_per_hour(Tally(losses, hours)) == pytest.approx(
        posterior_mean(PRIOR_SHAPE, PRIOR_RATE_H, losses, hours), rel=1e-3
    )
    prior = Prior(rate_h=5000.0)
    assert hazard_per_hour(losses, hours * 3600, prior) == pytest.approx(
        posterior_mean(PRIOR_SHAPE, 5000.0, losses, hours), rel=1e-3
    )


def test_with_nothing_seen_it_is_the_published_prior() -> None:
    prior = prior_of(Tally(), {}, {})
    assert prior.rate_h == pytest.approx(PRIOR_RATE_H)
    assert survival(0, 0.0, prior=prior) == pytest.approx(survival(0, 0.0))
    assert PUBLISHED.hazard_per_hour == pytest.approx(PRIOR_SHAPE / PRIOR_RATE_H)


def test_nobodys_own_history_is_counted_twice() -> None:
    own = Tally(3, YEAR_H)
    sums = Sums({("A", "o"): own}, {"A": own + Tally(1, 5 * YEAR_H)})
    prior = prior_from(owner_id="o", model="A", own=own, sums=sums)
    assert prior.owner == Tally()
    assert prior.fleet == Tally(1, 5 * YEAR_H)
    assert prior.hazard_per_hour == pytest.approx(fleet_hazard_per_hour(Tally(1, 5 * YEAR_H)))


def test_an_owner_of_a_bad_model_is_not_blamed_for_the_model() -> None:
    """He had as many losses as anybody has with it: as an owner he is average, also for another model."""
    bad, good = Tally(100, 10 * YEAR_H), Tally(1, 10 * YEAR_H)
    usual = round(fleet_hazard_per_hour(bad) * YEAR_H)
    sums = Sums({("bad", "o"): Tally(usual, YEAR_H)}, {"bad": bad + Tally(usual, YEAR_H), "good": good})
    prior = prior_from(owner_id="o", model="good", own=Tally(), sums=sums)
    assert prior.hazard_per_hour == pytest.approx(fleet_hazard_per_hour(good), rel=0.1)
    careless = Sums(
        {("bad", "o"): Tally(3 * usual, YEAR_H)}, {"bad": bad + Tally(3 * usual, YEAR_H), "good": good}
    )
    worse = prior_from(owner_id="o", model="good", own=Tally(), sums=careless)
    assert worse.hazard_per_hour > 2 * prior.hazard_per_hour


@given(st.integers(0, 50), st.floats(0, 1e6), st.integers(0, 50), st.floats(0, 1e6))
def test_a_worse_owner_or_model_never_helps(
    fleet_n: int, fleet_h: float, owner_n: int, owner_h: float
) -> None:
    def score(n: int, m: int) -> float:
        hazard = fleet_hazard_per_hour(Tally(n, fleet_h))
        return survival(0, 0.0, prior=prior_of(Tally(n, fleet_h), {"A": Tally(m, owner_h)}, {"A": hazard}))

    assert score(fleet_n, owner_n + 1) < score(fleet_n, owner_n)


def test_it_comes_closer_to_the_truth_than_the_nodes_alone() -> None:
    """200 owners with 6 nodes each, hazards drawn as the formula supposes, half a year seen: squared errors of the log."""
    chance = random.Random(7)
    mean = PRIOR_SHAPE / PRIOR_RATE_H
    errors = {"levels": 0.0, "published": 0.0, "raw": 0.0}
    owners: dict[str, list[tuple[float, Tally]]] = {}
    for number in range(200):
        factor = chance.gammavariate(PRIOR_SHAPE, 1 / PRIOR_SHAPE)
        owners[f"o{number}"] = []
        for _ in range(6):
            rate = chance.gammavariate(PRIOR_SHAPE, factor * mean / PRIOR_SHAPE)
            hours = chance.uniform(0, YEAR_H / 2)
            at, losses = chance.expovariate(rate), 0
            while at < hours:
                losses, at = losses + 1, at + chance.expovariate(rate)
            owners[f"o{number}"].append((rate, Tally(losses, hours)))
    of_owner = {owner: sum((seen for _, seen in nodes), Tally()) for owner, nodes in owners.items()}
    sums = Sums(
        {("A", owner): tally for owner, tally in of_owner.items()}, {"A": sum(of_owner.values(), Tally())}
    )
    for owner, nodes in owners.items():
        for rate, seen in nodes:
            prior = prior_from(owner_id=owner, model="A", own=seen, sums=sums)
            told = {
                "levels": hazard_per_hour(seen.losses, seen.online_h * 3600, prior),
                "published": hazard_per_hour(seen.losses, seen.online_h * 3600),
                "raw": (seen.losses + 0.5) / (seen.online_h + 1),
            }
            for name, hazard in told.items():
                errors[name] += (hazard - rate) ** 2
    assert errors["levels"] < 0.9 * errors["published"] < errors["raw"], errors


def test_the_interval_holds_the_mean_also_under_a_levelled_prior() -> None:
    record = record_of(1, 40 * 86_400.0, 0.0, Prior(rate_h=700.0))
    assert record.reliability_low < record.reliability < record.reliability_high
