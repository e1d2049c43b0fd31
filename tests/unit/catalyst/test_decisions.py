"""What becomes of a job after each thing that can happen to its placement."""

from datetime import UTC, datetime, timedelta

import pytest
from gp4u_protocol.job_spec import OnNodeLoss, Protection
from gp4u_protocol.lease import LEASE_TTL_S
from gp4u_server.catalyst.health.authority import takeover_after_s
from gp4u_server.catalyst.jobs import decisions
from gp4u_server.catalyst.jobs.types import JobState, Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def facts(**changes: object) -> decisions.JobFacts:
    values = {"protection": Protection.CATALYST, "has_run": True, "stop_reason": None, "start_failures": 0}
    return decisions.JobFacts(**{**values, **changes})  # type: ignore[arg-type]


def test_exit_0_is_done_even_while_stopping() -> None:
    for stop in (None, "by_renter"):
        verdict = decisions.after_exit(facts(stop_reason=stop), 0, None, None, None)
        assert (verdict.outcome, verdict.state) == (Outcome.DONE, JobState.DONE)


@pytest.mark.parametrize(
    ("exit_code", "signal", "reason", "expected"),
    [(1, None, None, "exit_1"), (None, 9, None, "signal_9"), (137, 9, "out_of_memory", "out_of_memory")],
)
def test_a_job_that_fails_by_itself_is_not_failed_over(
    exit_code: int | None, signal: int | None, reason: str | None, expected: str
) -> None:
    verdict = decisions.after_exit(facts(), exit_code, signal, reason, None)
    assert (verdict.state, verdict.reason, verdict.retry_after_s) == (JobState.FAILED, expected, None)
    assert verdict.detail


def test_exit_by_signal_after_a_stop_request_is_stopped() -> None:
    verdict = decisions.after_exit(facts(stop_reason="wallet_empty"), None, 15, None, None)
    assert (verdict.state, verdict.reason) == (JobState.STOPPED, "wallet_empty")


def test_h27_starts_that_fail_are_tried_with_growing_pauses_and_then_given_up() -> None:
    pauses, failures = [], 0
    while True:
        verdict = decisions.after_start_failed(facts(start_failures=failures), "command_not_found", None)
        if verdict.state.is_final:
            break
        pauses.append(verdict.retry_after_s)
        failures = verdict.start_failures
    assert pauses == [1.0, 5.0]
    assert (verdict.state, verdict.reason) == (JobState.FAILED, "start_failed")


def test_a_host_that_fails_to_start_costs_the_job_less_patience() -> None:
    verdict = decisions.after_start_failed(facts(start_failures=2, has_run=False), "not_claimed", None)
    assert verdict.state is JobState.QUEUED
    last = decisions.HOST_FAILURES_MAX - 1
    assert decisions.after_start_failed(facts(start_failures=last), "not_claimed", None).state.is_final


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({}, JobState.RECOVERING, None),
        ({"has_run": False}, JobState.QUEUED, None),
        ({"protection": Protection.NONE}, JobState.FAILED, "node_lost"),
        ({"stop_reason": "by_renter"}, JobState.STOPPED, "by_renter"),
        ({"on_node_loss": OnNodeLoss.WAIT}, JobState.RECOVERING, None),
        ({"on_node_loss": OnNodeLoss.STOP}, JobState.STOPPED, "stop_on_node_loss"),
        ({"on_node_loss": OnNodeLoss.STOP, "has_run": False}, JobState.QUEUED, None),
        ({"moves_max": 2, "moves": 1}, JobState.RECOVERING, None),
        ({"moves_max": 2, "moves": 2}, JobState.STOPPED, "moves_used_up"),
        ({"moves_max": 0}, JobState.STOPPED, "moves_used_up"),
        ({"moves_max": 0, "has_run": False}, JobState.QUEUED, None),
    ],
)
def test_lost_node(changes: dict[str, object], state: JobState, reason: str | None) -> None:
    verdict = decisions.after_lost(facts(**changes))
    assert (verdict.outcome, verdict.state, verdict.reason) == (Outcome.LOST, state, reason)
    if not state.is_final:
        assert verdict.retry_after_s == 0.0


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({}, JobState.RECOVERING, None),
        ({"has_run": False}, JobState.QUEUED, None),
        ({"protection": Protection.NONE}, JobState.FAILED, "node_drained"),
        ({"protection": Protection.NONE, "has_run": False}, JobState.QUEUED, None),
        ({"stop_reason": "wallet_empty"}, JobState.STOPPED, "wallet_empty"),
        ({"on_node_loss": OnNodeLoss.STOP}, JobState.STOPPED, "stop_on_node_loss"),
        ({"moves_max": 1, "moves": 1}, JobState.STOPPED, "moves_used_up"),
    ],
)
def test_a_run_that_was_told_to_leave_its_node(
    changes: dict[str, object], state: JobState, reason: str | None
) -> None:
    """However it ends there: by the stop, by a signal, by a start that was broken off."""
    moving = facts(moving=True, **changes)
    for verdict in (
        decisions.after_stopped(moving, "moving"),
        decisions.after_exit(moving, None, 15, None, None),
        decisions.after_exit(moving, 1, None, None, None),
        decisions.after_start_failed(moving, "agent_error", None),
    ):
        assert (verdict.state, verdict.reason, verdict.start_failures) == (state, reason, 0)
    assert decisions.after_exit(moving, 0, None, None, None).state is JobState.DONE, "a finished result stays"


def test_a_move_that_its_node_never_confirmed_waits_until_no_lease_can_be_left() -> None:
    moving = facts(moving=True)
    assert decisions.after_moved(moving).retry_after_s == 0.0
    pause_s = decisions.after_moved(moving, confirmed=False).retry_after_s
    assert pause_s is not None
    assert pause_s > takeover_after_s(LEASE_TTL_S) + LEASE_TTL_S


def test_every_end_has_its_sentence() -> None:
    assert decisions.TITLES.keys() <= decisions.SENTENCES.keys()


def test_durations() -> None:
    hour = timedelta(hours=1)
    limits = {"created_at": NOW, "started_at": NOW + hour, "duration_s_max": 60}
    assert decisions.overdue(NOW + hour + timedelta(seconds=59), **limits) is None  # type: ignore[arg-type]
    assert decisions.overdue(NOW + hour + timedelta(seconds=60), **limits) == "duration_reached"  # type: ignore[arg-type]
    waiting = {"created_at": NOW, "started_at": None, "duration_s_max": 60}
    assert decisions.overdue(NOW + hour, **waiting) is None  # type: ignore[arg-type]
    assert decisions.overdue(NOW + 25 * hour, **waiting) == "no_capacity"  # type: ignore[arg-type]
    stuck = {**waiting, "is_placed": True}
    assert decisions.overdue(NOW + hour, **stuck) is None  # type: ignore[arg-type]
    assert decisions.overdue(NOW + 25 * hour, **stuck) == "never_started"  # type: ignore[arg-type]
    late = {**limits, "duration_s_max": 86_400, "deadline_s": 7200}
    assert decisions.overdue(NOW + 2 * hour - timedelta(seconds=1), **late) is None  # type: ignore[arg-type]
    assert decisions.overdue(NOW + 2 * hour, **late) == "deadline_reached"  # type: ignore[arg-type]
    assert decisions.overdue(NOW + 2 * hour, **waiting, deadline_s=7200) == "deadline_reached"  # type: ignore[arg-type]
