"""Thousands of seeded worlds against the production cores, and planted bugs that the same referee must catch.

Replay one with `python -m tests.simulation --seed N [--bug NAME]`.
"""

import pytest

from tests.simulation.engine import Violation
from tests.simulation.scenario import FAULTS, play

SEEDS = 2000
BATCH = 250


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_h2_no_seed_runs_a_job_twice_bills_twice_or_forgets_it(first: int) -> None:
    for seed in range(first, first + BATCH):
        play(seed)


def test_a_seed_is_replayed_exactly() -> None:
    histories: list[list[str]] = [[], []]
    for history in histories:
        play(11, recording=True, history=history)
    assert histories[0] == histories[1]
    assert len(histories[0]) > 20


def _caught(
    bug: str, *, faults: tuple[str, ...] = FAULTS, gateways: int | None = None, seeds: int = 600
) -> str:
    for seed in range(seeds):
        try:
            play(seed, frozenset({bug}), faults=faults, gateways=gateways)
        except Violation as violation:
            return str(violation)
    pytest.fail(f"{bug} went unnoticed in {seeds} seeds")


def test_h2_deadline_from_receipt_is_caught() -> None:
    assert "runs beside" in _caught("deadline_from_receipt", faults=("slow", "slow", "cut_up"))


def test_h2_pushed_start_is_caught() -> None:
    assert "run" in _caught("pushed_start", faults=("slow", "slow", "cut", "pause_agent"))


def test_h2_freeze_by_a_paused_agent_is_caught() -> None:
    assert "run" in _caught("freeze_in_agent", faults=("pause_agent", "cut"))


def test_h2_gateway_without_authority_is_caught() -> None:
    assert "run" in _caught("no_authority", faults=("cut_gateway_off",), gateways=2)


def test_h3_write_or_grant_without_epoch_check_is_caught() -> None:
    message = _caught("no_epoch_check", faults=("slow", "cut", "cut_down", "pause_agent"))
    assert "stale checkpoint" in message or "runs although" in message or "runs beside" in message


def test_h23_replacing_before_the_ttl_is_caught() -> None:
    assert "run" in _caught("replace_before_ttl", faults=("cut", "cut_down", "cut_up"))


def test_h23_no_wait_after_a_restart_is_caught() -> None:
    assert "run" in _caught(
        "no_wait_after_restart", faults=("crash_gateway", "pause_gateway", "cut_gateway_off")
    )


@pytest.mark.parametrize("fault", ["pause_controller", "crash_controller", "stall_database", "pause_gateway"])
def test_h23_our_own_outage_moves_no_job(fault: str) -> None:
    """A pause of ours alone is never read as the death of a node. (One gateway that stands still for longer than
    its authority and a whole TTL is dead for all that anybody can know; its nodes may be taken then.)"""
    for seed in range(60):
        history: list[str] = []
        play(seed, faults=(fault,), gateways=1, loss_free=True, recording=True, history=history)
        if not any("taken over" in line for line in history):
            assert not [line for line in history if " is lost after" in line], seed
