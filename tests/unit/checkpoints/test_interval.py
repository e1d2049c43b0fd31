"""The automatic interval: the formula against its own minimum, its bounds, and the agent that follows it."""

import math
import random
from pathlib import Path

import pytest
from gp4u_agent.checkpoint.commits import ControlFolder
from gp4u_agent.checkpointing import Checkpointing
from gp4u_protocol.checkpoint.interval import (
    INTERVAL_S_MAX,
    INTERVAL_S_MIN,
    advised_interval_s,
    optimum_s,
    smoothed_cost_s,
)
from gp4u_protocol.job_file import parse_job_file

from tests.unit.checkpoints.platform import Platform
from tests.unit.checkpoints.scene import Node, placement, settle


def expected_run_s(work_s: float, every_s: float, cost_s: float, failure_every_s: float) -> float:
    """Daly's expected run time of `work_s` seconds of computing, restarts free (equation 20)."""
    segment = failure_every_s * math.expm1((every_s + cost_s) / failure_every_s)
    return segment * work_s / every_s


@pytest.mark.parametrize(
    ("cost_s", "failure_every_s"), [(1, 3600), (5, 3600), (30, 86_400), (300, 86_400), (60, 600), (0.2, 1e6)]
)
def test_it_is_the_minimum_of_the_expected_run_time(cost_s: float, failure_every_s: float) -> None:
    best = optimum_s(cost_s, failure_every_s)
    least = expected_run_s(1e5, best, cost_s, failure_every_s)
    tried = [expected_run_s(1e5, best * 2 ** (n / 50), cost_s, failure_every_s) for n in range(-150, 151)]
    assert least <= min(tried) * 1.0005, "an estimate: within a twentieth of a percent of the true minimum"


def test_its_first_term_is_youngs() -> None:
    assert optimum_s(1, 1e8) == pytest.approx(math.sqrt(2e8), rel=1e-3)
    assert optimum_s(100, 40) == 40


@pytest.mark.parametrize(("cost_s", "failure_every_s"), [(0, 1), (1, 0), (-1, 5)])
def test_nonsense_is_refused(cost_s: float, failure_every_s: float) -> None:
    with pytest.raises(ValueError):
        optimum_s(cost_s, failure_every_s)


def test_advice_stays_within_its_bounds_and_follows_both_numbers() -> None:
    chance = random.Random(4)
    for _ in range(2_000):
        cost_s, hazard = 10 ** chance.uniform(-4, 4), 10 ** chance.uniform(-8, 3)
        every_s = advised_interval_s(cost_s, hazard)
        assert max(INTERVAL_S_MIN, 2 * cost_s) <= every_s + 1e-9
        assert every_s <= max(INTERVAL_S_MAX, 2 * cost_s) + 1e-9
        assert advised_interval_s(cost_s, hazard * 2) <= every_s + 1e-9
    assert advised_interval_s(0, 0) == pytest.approx(optimum_s(0.01, 3.6e7), rel=1e-6)
    assert advised_interval_s(2, 0.01) == pytest.approx(optimum_s(2, 360_000))


def test_one_slow_upload_does_not_decide() -> None:
    assert smoothed_cost_s(None, 4.0) == 4.0
    assert smoothed_cost_s(2.0, 12.0) == pytest.approx(5.0)


def test_the_job_file_says_auto(tmp_path: Path) -> None:
    rule = parse_job_file("command: x\ncheckpoint: {every: auto}", base=tmp_path).spec.checkpoint
    assert (rule.auto, rule.every_s) == (True, 60)


async def test_the_agent_follows_what_it_measures_and_tells_it_with_a_commit(tmp_path: Path) -> None:
    platform = Platform()
    spec = placement().model_copy(update={"checkpoint_every_s": 33, "checkpoint_hazard_per_hour": 1.0})
    node = Node(platform, tmp_path, spec=spec)
    node.folder.mkdir()
    following = Checkpointing(
        node.engine, ControlFolder(tmp_path), spec, on_stale=lambda: None, paused=lambda: False
    )
    assert following.every_s == 33
    for number in range(2):
        (node.folder / "state").write_text(str(number))
        settle(node.folder)
        await following.final()
    assert len(platform.rows) == 2
    assert [row.pace is None for row in platform.rows] == [True, False]
    told = platform.rows[1].pace
    assert told is not None
    assert told["every_s"] == pytest.approx(advised_interval_s(told["cost_s"], 1.0))
    assert following.every_s == pytest.approx(advised_interval_s(following.cost_s or 0, 1.0))


async def test_a_fixed_interval_stays_and_nothing_is_told(tmp_path: Path) -> None:
    platform = Platform()
    node = Node(platform, tmp_path)
    node.folder.mkdir()
    following = Checkpointing(
        node.engine, ControlFolder(tmp_path), placement(), on_stale=lambda: None, paused=lambda: False
    )
    for number in range(2):
        (node.folder / "state").write_text(str(number))
        settle(node.folder)
        await following.final()
    assert following.every_s == placement().checkpoint_every_s
    assert [row.pace for row in platform.rows] == [None, None]
