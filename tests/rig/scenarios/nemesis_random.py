"""Everything at once, at random, from one seed; and several of everything, each of them killed, paused or cut off."""

import random
import time

import pytest

from tests.rig.nemesis import Nemesis, draw
from tests.rig.world import World

JOBS = 6
END_WITHIN_S = 420


def rage(rig: World, nemesis: Nemesis, jobs: int, seed: int) -> None:
    """Jobs of different lengths and sizes under the plan, then peace until each has ended."""
    chance = random.Random(seed)
    for _ in range(jobs):
        rig.renter.submit(
            steps=chance.randint(40, 160),
            pace_s=chance.uniform(0.1, 0.4),
            save_every=chance.randint(2, 12),
            state_bytes=chance.choice([4_096, 65_536, 1 << 20]),
            ballast=chance.randint(0, 2),
            interval_s=chance.choice([2, 5, 3600]),
            when_away=nemesis.tick,
        )
    while not nemesis.is_over:
        nemesis.tick()
        rig.look()
        time.sleep(0.05)
    rig.make_whole()
    rig.wait_for_ends(within_s=END_WITHIN_S)


def test_nemesis_one_seed_of_everything(rig: World, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("--seed")
    plan = draw(
        seed,
        request.config.getoption("--seconds"),
        machines=["b1", "b2", "c1", "c2"],
        hosts=["b", "c"],
        platform="a",
        services=["gateway@a", "controller@a", "api@a", "worker", "postgres", "valkey"],
        pause_s=10.0,
    )
    rage(rig, Nemesis(rig, plan), JOBS, seed)
