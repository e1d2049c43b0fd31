"""What becomes of a job after each thing that can happen to its placement."""

from datetime import UTC, datetime, timedelta

import pytest
from gp4u_protocol.job_spec import Protection
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
    ],
)
def test_lost_node(changes: dict[str, object], state: JobState, reason: str | None) -> None:
    verdict = decisions.after_lost(facts(**changes))
    assert (verdict.outcome, verdict.state, verdict.reason) == (Outcome.LOST, state, reason)
    if not state.is_final:
        assert verdict.retry_after_s == 0.0


def test_durations() -> None:
    hour = timedelta(hours=1)
    limits = {"created_at": NOW, "started_at": NOW + hour, "duration_s_max": 60}
    assert decisions.overdue(NOW + hour + timedelta(seconds=59), **limits) is None  # type: ignore[arg-type]
    assert decisions.overdue(NOW + hour + timedelta(seconds=60), **limits) == "duration_reached"  # type: ignore[arg-type]
    waiting = {"created_at": NOW, "started_at": None, "duration_s_max": 60}
    assert decisions.overdue(NOW + hour, **waiting) is None  # type: ignore[arg-type]
    assert decisions.overdue(NOW + 25 * hour, **waiting) == "no_capacity"  # type: ignore[arg-type]
