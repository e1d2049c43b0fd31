"""Notice with a deadline: when a job is told to stop, for how long, and who has to leave for what. Pure."""

from datetime import UTC, datetime, timedelta

import pytest
from gp4u_protocol.job_spec import BookingKind
from gp4u_server.catalyst.failover.moves import Causes, leaving, new_notices, staying
from gp4u_server.catalyst.jobs.notice import (
    GRACE_S_MIN,
    WINDOW_LEAD_S_MAX,
    LiveRun,
    NoticeReason,
    grace_s,
    preemption_pause_s,
    preemptions_now,
    smoothed_cost_ms,
    stop_due_at,
    stop_lead_s,
    window_lead_s,
)
from gp4u_server.nodes.types import (
    DrainingNode,
    FailedDevice,
    MaintenanceWindow,
    ReservedDevice,
    WindowState,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTICE_S = 60.0


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def run(job_id: str = "job_a", **changes) -> LiveRun:
    values = {
        "job_id": job_id,
        "placement_id": "plc_a",
        "node_id": "node_a",
        "device_uuids": ("GPU-0",),
        "kind": BookingKind.ON_DEMAND,
        "rate_per_hour_micros": 500_000,
        "created_at": NOW,
        "ends_by": after(86_400),
        "checkpoint_cost_s": 1.0,
        "notice_reason": None,
        "is_stopping": False,
        **changes,
    }
    return LiveRun(**values)


def window(starts_in_s: float) -> MaintenanceWindow:
    return MaintenanceWindow(
        "win_a", "node_a", after(starts_in_s), after(starts_in_s + 3600), None, WindowState.PLANNED
    )


DRAINING = DrainingNode("node_a", "A new fan.", None)
FAILED = FailedDevice("dev_0", "node_a", "GPU-0", "XID 79", 1, None)
KEPT = ReservedDevice("node_a", "GPU-0", "job_other", after(300), in_use=True)


@given(
    notice_s=st.floats(5, 900),
    cost_s=st.one_of(st.none(), st.floats(0, 2000)),
)
def test_the_stop_its_grace_and_a_final_checkpoint_fit_before_the_deadline(notice_s, cost_s):
    deadline = after(notice_s)
    due = stop_due_at(NOW, deadline, cost_s)
    assert NOW <= due <= deadline
    grace = grace_s(due, deadline, cost_s)
    assert GRACE_S_MIN <= grace <= 30
    if notice_s >= stop_lead_s(cost_s) and (cost_s or 10.0) < 285:
        # Rounded to whole seconds, what is left after the grace holds twice what a checkpoint takes.
        left_s = (deadline - due).total_seconds() - grace
        assert left_s >= 2 * (10.0 if cost_s is None else cost_s) - 0.51


def test_a_window_is_met_with_time_to_spare_and_the_lead_is_bounded():
    assert window_lead_s(1.0, 60.0) == 92
    assert window_lead_s(None, 60.0) == 110
    assert window_lead_s(1e6, 900.0) == WINDOW_LEAD_S_MAX


def test_the_expected_cost_rises_at_once_and_falls_slowly():
    assert smoothed_cost_ms(None, 100) == 100
    assert smoothed_cost_ms(100, 5000) == 5000
    assert smoothed_cost_ms(5000, 100) == 3530


def test_h24_preemptions_in_a_row_pause_longer_and_are_forgiven_after_six_hours():
    at, count, moves_at = NOW, 0, []
    last: datetime | None = None
    for _ in range(40):  # preempted again the moment it runs, for as long as the market swings
        count = preemptions_now(count, last, at)
        last = at
        moves_at.append(at)
        at += timedelta(seconds=preemption_pause_s(count))
    for began in moves_at:
        assert sum(began <= at < began + timedelta(hours=1) for at in moves_at) <= 4, (
            "one placing, three moves"
        )
    assert preemptions_now(7, last, last + timedelta(hours=6)) == 1


@pytest.mark.parametrize(
    ("causes", "reason", "deadline"),
    [
        (Causes(failed=[FAILED], draining=[DRAINING], reserved=[KEPT]), NoticeReason.DEVICE, None),
        (Causes(draining=[DRAINING], windows=[window(10)], reserved=[KEPT]), NoticeReason.DRAIN, None),
        (Causes(draining=[DrainingNode("node_a", "", after(1800))]), NoticeReason.DRAIN, after(60)),
        (Causes(draining=[DrainingNode("node_a", "", after(20))]), NoticeReason.DRAIN, after(20)),
        (Causes(windows=[window(90)], reserved=[KEPT]), NoticeReason.MAINTENANCE, after(90)),
        (Causes(windows=[window(3000)], reserved=[KEPT]), NoticeReason.PREEMPTION, after(60)),
    ],
)
def test_the_weightiest_cause_is_told(causes, reason, deadline):
    (leave,) = leaving(causes, [run()], NOW, NOTICE_S)
    assert (leave.reason, leave.deadline_at) == (reason, deadline)
    assert leave.sentence or reason is NoticeReason.DRAIN


def test_only_the_jobs_that_hold_the_failed_device_leave():
    other = run("job_b", device_uuids=("GPU-1", "GPU-2"))
    assert [leave.job_id for leave in leaving(Causes(failed=[FAILED]), [run(), other], NOW, 60)] == ["job_a"]
    assert leaving(Causes(reserved=[KEPT]), [other], NOW, 60) == []


def test_a_job_that_ends_before_the_window_stays_and_one_far_from_it_is_not_told_yet():
    causes = Causes(windows=[window(90)])
    assert leaving(causes, [run(ends_by=after(90))], NOW, NOTICE_S) == []
    assert leaving(Causes(windows=[window(93)]), [run()], NOW, NOTICE_S) == []
    assert leaving(Causes(windows=[window(92)]), [run()], NOW, NOTICE_S) != []


def test_told_once_and_taken_back_when_the_cause_is_gone():
    told = run(notice_reason=NoticeReason.MAINTENANCE)
    leaves = leaving(Causes(windows=[window(60)]), [told], NOW, NOTICE_S)
    assert len(leaves) == 1
    assert new_notices(leaves, [told]) == []
    assert staying(leaves, [told]) == []
    assert staying([], [told]) == ["job_a"]
