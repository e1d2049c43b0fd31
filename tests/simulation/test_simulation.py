"""The simulation itself: every seed keeps the promises, one seed is the same again, planted bugs are caught.

`make sim` plays 100,000 seeds and plants every bug; this is the cheap part of it.
"""

import os
import subprocess
import sys

import pytest
from gp4u_simulation.campaign import hunt, play_batch
from gp4u_simulation.command import COVERAGE, main
from gp4u_simulation.plants import PLANTS
from gp4u_simulation.referee import OUR_OUTAGE
from gp4u_simulation.scenario import CALM_FAULTS, run
from gp4u_simulation.world import Violation, World

SEEDS = 1600
BATCH = 200
QUICK_SEEDS_MAX = 60
QUICK = (
    "deadline_from_receipt",
    "never_freezes",
    "no_drift_margin",
    "clock_stops_in_sleep",
    "shims_forgotten",
    "reports_not_repeated",
    "replaced_before_ttl",
    "no_wait_after_restart",
    "own_stall_not_forgiven",
    "writes_unfenced",
    "reports_unfenced",
    "placed_twice",
    "lost_job_forgotten",
    "commit_before_upload",
    "collect_without_open_uploads",
    "restores_an_older_one",
    "agent_clock_billing",
    "intervals_overlap",
    "lost_work_charged",
    "posted_again",
    "parts_do_not_add_up",
    "outages_watched_through",
    "stale_ack_accepted",
    "agent_keeps_the_longest_ttl",
    "pushed_start",
    "shorter_ttl_at_once",
)
RARE = frozenset(
    {"claims_barred", "authority_lapses", "start_failures", "unclaimed", "wallets_empty", "mass_holds"}
)
"""Too rare to be asked of a few hundred seeds."""


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_h2_every_seed_keeps_the_promises(first: int) -> None:
    outcome = play_batch(first, BATCH)
    assert [failure.says for failure in outcome.failures] == []


def test_seeds_are_not_empty() -> None:
    outcome = play_batch(50_000, 300)
    missing = [key for key, _ in COVERAGE if key not in RARE and not outcome.seen[key]]
    assert missing == []
    assert outcome.seen["node_lost"] > 100
    assert outcome.seen["freeze"] > 50


@pytest.mark.parametrize("seed", [11, 42])
def test_a_seed_is_replayed_byte_for_byte(seed: int) -> None:
    histories = [
        subprocess.run(
            [sys.executable, "-m", "gp4u_simulation.command", "--seed", str(seed)],
            env={**os.environ, "PYTHONHASHSEED": str(number)},
            capture_output=True,
            check=True,
        ).stdout
        for number in (1, 2)
    ]
    assert histories[0] == histories[1]
    assert histories[0].count(b"\n") > 8


@pytest.mark.parametrize("fault", CALM_FAULTS)
def test_h23_our_own_outage_moves_no_job(fault: str) -> None:
    for seed in range(40):
        run(World(seed), faults=(fault,), calm=True)


def test_h23_a_stall_of_our_whole_control_plane_of_60_s_moves_no_job() -> None:
    for seed in range(60):
        world = World(seed)
        run(world, faults=("stall_for_a_minute",), calm=True)
        assert world.counts["failovers"] == 0
        assert world.counts["node_lost"] == 0


@pytest.mark.parametrize("name", QUICK)
def test_planted_bug_is_caught(name: str) -> None:
    catch = hunt(name, 0, QUICK_SEEDS_MAX)
    assert catch.failure is not None, f"{name} went unnoticed in {QUICK_SEEDS_MAX} seeds"


def test_a_planted_bug_leaves_nothing_behind() -> None:
    hunt("never_freezes", 0, QUICK_SEEDS_MAX)
    assert play_batch(0, 20).failed == 0


def test_h23_an_unforgiven_stall_is_named_as_such() -> None:
    catch = hunt("own_stall_not_forgiven", 0, QUICK_SEEDS_MAX)
    assert catch.failure is not None
    assert catch.failure.invariant == OUR_OUTAGE


def test_a_violation_ends_the_history_of_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "5", "--plant", "shims_forgotten"]) == 1
    said = capsys.readouterr().out
    assert "VIOLATION" in said
    assert "seed 5:" in said


def test_the_command_says_what_was_covered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "60", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "failovers" in said
    assert "0 of 60 seeds broke a promise" in said


def test_the_command_lists_its_bugs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plant", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(PLANTS) >= 20


def test_an_unknown_bug_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--plant", "no_such_bug"])
    assert ended.value.code == 2


def test_a_violation_carries_its_invariant() -> None:
    with pytest.raises(Violation) as broken:
        World(5).violated("a promise", "broken")
    assert broken.value.invariant == "a promise"
