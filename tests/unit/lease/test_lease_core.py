"""The node's half of the lease: deadlines from send times, freeze before replace, thaw and kill."""

import pytest
from gp4u_protocol.lease import DRIFT_MAX, GRACE_S, freeze_after_s, replace_after_s
from gp4u_protocol.lease_core import (
    Effect,
    JobExited,
    Kill,
    LeaseHolder,
    Renew,
    Renewal,
    ShimState,
    Tick,
    shim_begin,
    shim_step,
)

TTL = 5.0
FREEZE = freeze_after_s(TTL)


def holder() -> LeaseHolder:
    lease = LeaseHolder()
    lease.begin_session("s1", TTL)
    return lease


@pytest.mark.parametrize("ttl_s", [0.5, 1.0, 3.0, 5.0, 60.0])
@pytest.mark.parametrize("node_rate", [1 - DRIFT_MAX, 1.0, 1 + DRIFT_MAX])
@pytest.mark.parametrize("server_rate", [1 - DRIFT_MAX, 1.0, 1 + DRIFT_MAX])
def test_h2_freeze_precedes_replace_under_drift(ttl_s: float, node_rate: float, server_rate: float) -> None:
    frozen_true_s = freeze_after_s(ttl_s) / node_rate
    replaced_true_s = replace_after_s(ttl_s) / server_rate
    assert replaced_true_s - frozen_true_s >= GRACE_S / (1 + DRIFT_MAX) - 1e-9


def test_h2_claim_counts_from_its_send_and_not_from_the_answer() -> None:
    lease = holder()
    lease.claim_sent(1, "p", 3, now=100.0)
    assert lease.claim_granted("s1", 1, "p", 3) == Renewal("p", 3, 100.0 + FREEZE)


def test_heartbeat_counts_from_its_own_send() -> None:
    lease = holder()
    lease.adopt("p", 3)
    lease.heartbeat_sent(7, now=50.0)
    lease.heartbeat_sent(8, now=51.0)
    assert lease.heartbeat_acked("s1", 7, [("p", 3)]) == [Renewal("p", 3, 50.0 + FREEZE)]


def test_late_ack_never_moves_a_deadline_back() -> None:
    lease = holder()
    lease.adopt("p", 3)
    lease.heartbeat_sent(7, now=50.0)
    lease.heartbeat_sent(8, now=51.0)
    lease.heartbeat_acked("s1", 8, [("p", 3)])
    assert lease.heartbeat_acked("s1", 7, [("p", 3)]) == []
    assert lease.deadline("p", 3) == 51.0 + FREEZE


def test_one_ack_renews_once() -> None:
    lease = holder()
    lease.adopt("p", 3)
    lease.heartbeat_sent(7, now=50.0)
    lease.heartbeat_acked("s1", 7, [("p", 3)])
    lease.release("p", 3)
    lease.adopt("p", 3)
    assert lease.heartbeat_acked("s1", 7, [("p", 3)]) == []


@pytest.mark.parametrize(
    ("session", "seq", "placement", "epoch"),
    [("s0", 1, "p", 3), ("s1", 2, "p", 3), ("s1", 1, "q", 3), ("s1", 1, "p", 2)],
)
def test_h3_answers_of_other_sessions_claims_and_epochs_grant_nothing(
    session: str, seq: int, placement: str, epoch: int
) -> None:
    lease = holder()
    lease.claim_sent(1, "p", 3, now=100.0)
    assert lease.claim_granted(session, seq, placement, epoch) is None
    assert lease.deadline(placement, epoch) is None


def test_a_new_session_voids_answers_but_keeps_deadlines() -> None:
    lease = holder()
    lease.claim_sent(1, "p", 3, now=100.0)
    lease.claim_granted("s1", 1, "p", 3)
    lease.heartbeat_sent(2, now=101.0)
    lease.begin_session("s2", TTL)
    assert lease.heartbeat_acked("s1", 2, [("p", 3)]) == []
    assert lease.heartbeat_acked("s2", 2, [("p", 3)]) == []
    assert lease.deadline("p", 3) == 100.0 + FREEZE


def test_ack_does_not_renew_what_was_never_claimed_or_was_released() -> None:
    lease = holder()
    lease.adopt("p", 3)
    lease.release("p", 3)
    lease.heartbeat_sent(1, now=1.0)
    assert lease.heartbeat_acked("s1", 1, [("p", 3), ("other", 1)]) == []


def test_unanswered_sends_are_bounded() -> None:
    lease = holder()
    lease.adopt("p", 1)
    for seq in range(1000):
        lease.heartbeat_sent(seq, now=float(seq))
    assert lease.heartbeat_acked("s1", 0, [("p", 1)]) == []
    assert lease.heartbeat_acked("s1", 999, [("p", 1)]) == [Renewal("p", 1, 999 + FREEZE)]


def test_shim_freezes_at_the_deadline_and_not_before() -> None:
    state, effects = shim_begin(deadline=10.0, now=5.0)
    assert effects == ()
    assert state.wake_at == 10.0
    state, effects = shim_step(state, Tick(), 9.999)
    assert effects == ()
    state, effects = shim_step(state, Tick(), 10.0)
    assert effects == (Effect.FREEZE,)
    assert shim_step(state, Tick(), 11.0)[1] == ()


def test_h2_shim_started_late_freezes_at_once() -> None:
    assert shim_begin(deadline=4.0, now=5.0)[1] == (Effect.FREEZE,)


def test_shim_thaws_only_by_a_deadline_in_the_future() -> None:
    state, _ = shim_begin(deadline=4.0, now=5.0)
    state, effects = shim_step(state, Renew(5.5), 6.0)
    assert effects == ()
    state, effects = shim_step(state, Renew(8.0), 6.0)
    assert effects == (Effect.THAW,)
    assert state.frozen_since is None


def test_shim_ignores_a_shorter_deadline() -> None:
    state, _ = shim_begin(deadline=10.0, now=5.0)
    state, effects = shim_step(state, Renew(3.0), 6.0)
    assert (state.deadline, effects) == (10.0, ())


def test_shim_kills_on_word_and_only_once() -> None:
    state, _ = shim_begin(deadline=10.0, now=5.0)
    state, effects = shim_step(state, Kill(), 6.0)
    assert effects == (Effect.KILL_JOB,)
    assert shim_step(state, Kill(), 7.0) == (state, ())
    assert shim_step(state, Renew(99.0), 7.0) == (state, ())
    assert state.wake_at is None


def test_shim_gives_a_frozen_job_up_after_a_day() -> None:
    state, _ = shim_begin(deadline=4.0, now=5.0, abandon_after_s=100.0)
    assert state.wake_at == 105.0
    assert shim_step(state, Tick(), 104.0)[1] == ()
    assert shim_step(state, Tick(), 105.0)[1] == (Effect.KILL_JOB,)


def test_nothing_happens_to_a_job_that_exited() -> None:
    state, _ = shim_step(ShimState(deadline=10.0), JobExited(), 1.0)
    assert shim_step(state, Tick(), 99.0) == (state, ())
    assert shim_step(state, Kill(), 99.0) == (state, ())


def test_h2_a_deadline_is_made_with_the_ttl_of_the_answer_that_sets_it() -> None:
    lease = holder()
    lease.claim_sent(1, "p", 3, now=100.0)
    assert lease.claim_granted("s1", 1, "p", 3, 9.0) == Renewal("p", 3, 100.0 + freeze_after_s(9.0))
    lease.heartbeat_sent(1, now=101.0)
    lease.heartbeat_sent(2, now=105.0)
    assert lease.heartbeat_acked("s1", 2, [("p", 3)], 5.0) == [Renewal("p", 3, 105.0 + FREEZE)]
    assert lease.heartbeat_acked("s1", 1, [("p", 3)], 15.0) == [Renewal("p", 3, 101.0 + freeze_after_s(15.0))]


def test_answers_without_a_ttl_count_with_the_session_s() -> None:
    lease = LeaseHolder()
    lease.begin_session("s1", 8.0)
    lease.adopt("p", 3)
    lease.heartbeat_sent(1, now=50.0)
    assert lease.heartbeat_acked("s1", 1, [("p", 3)]) == [Renewal("p", 3, 50.0 + freeze_after_s(8.0))]


def test_the_newest_answered_beat_is_known_and_belongs_to_its_session() -> None:
    lease = holder()
    for seq in (1, 2, 3):
        lease.heartbeat_sent(seq, now=float(seq))
    assert lease.acked_seq is None
    lease.heartbeat_acked("s1", 3, [])
    lease.heartbeat_acked("s1", 2, [])
    lease.heartbeat_acked("s0", 9, [])
    assert lease.acked_seq == 3
    lease.begin_session("s2", TTL)
    assert lease.acked_seq is None
