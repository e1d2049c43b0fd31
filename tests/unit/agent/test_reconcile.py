"""What the agent does next, case by case and at random."""

import itertools

import pytest
from gp4u_agent.reconcile import ALIVE, CLAIM_RETRY_S, Actual, Phase, Plan, reconcile
from gp4u_protocol.lease_core import LeaseId
from gp4u_protocol.messages import DesiredRun, PlacementSpec
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 100.0
P1 = LeaseId("p1", 1)
P2 = LeaseId("p2", 2)


def spec(lease: LeaseId = P1, desired: DesiredRun = DesiredRun.RUN, job_id: str = "job") -> PlacementSpec:
    return PlacementSpec(
        placement_id=lease.placement_id,
        job_id=job_id,
        epoch=lease.epoch,
        desired=desired,
        job_name="job",
        command="true",
        device_uuids=[],
        cpus=1,
        memory_mb=1,
        disk_mb=1,
        checkpoint_path="c",
        checkpoint_every_s=1,
    )


def here(phase: Phase, **fields: object) -> Actual:
    return Actual(job_id="job", phase=phase, **fields)  # type: ignore[arg-type]


def test_before_the_first_word_of_a_session_nothing_is_done() -> None:
    for phase in Phase:
        assert reconcile(None, {P1: here(phase)}, NOW) == Plan()


def test_wanted_and_not_here_is_claimed() -> None:
    assert reconcile([spec()], {}, NOW) == Plan(claim=[P1])


def test_nothing_starts_before_the_grant() -> None:
    claiming = here(Phase.CLAIMING, claim_sent_at=NOW - 0.1)
    assert reconcile([spec()], {P1: claiming}, NOW) == Plan()


def test_an_unanswered_claim_is_sent_again() -> None:
    claiming = here(Phase.CLAIMING, claim_sent_at=NOW - CLAIM_RETRY_S)
    assert reconcile([spec()], {P1: claiming}, NOW) == Plan(claim=[P1])


def test_granted_is_started_once() -> None:
    assert reconcile([spec()], {P1: here(Phase.CLAIMING, granted=True)}, NOW) == Plan(start=[P1])
    for phase in ALIVE:
        assert reconcile([spec()], {P1: here(phase, granted=True)}, NOW) == Plan()


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.ENDING])
def test_after_a_restart_of_the_agent_what_is_here_is_claimed_again(phase: Phase) -> None:
    assert reconcile([spec()], {P1: here(phase)}, NOW) == Plan(claim=[P1])


@pytest.mark.parametrize("phase", sorted(ALIVE))
def test_what_nobody_wants_is_killed(phase: Phase) -> None:
    assert reconcile([], {P1: here(phase, granted=True)}, NOW) == Plan(kill=[P1])


def test_what_was_not_begun_and_is_not_wanted_is_forgotten_and_may_be_wanted_again() -> None:
    for granted in (False, True):
        assert reconcile([], {P1: here(Phase.CLAIMING, granted=granted)}, NOW) == Plan(forget=[P1])
    assert reconcile([spec()], {}, NOW) == Plan(claim=[P1])


@pytest.mark.parametrize("phase", [Phase.CLAIMING, *sorted(ALIVE)])
def test_what_was_refused_is_killed_though_still_listed(phase: Phase) -> None:
    assert reconcile([spec()], {P1: here(phase, refused=True)}, NOW).kill == [P1]


@pytest.mark.parametrize("phase", [Phase.CLAIMING, Phase.PREPARING, Phase.RUNNING])
def test_wanted_to_stop_is_stopped(phase: Phase) -> None:
    stop = spec(desired=DesiredRun.STOP)
    assert reconcile([stop], {P1: here(phase, granted=True)}, NOW) == Plan(stop=[P1])


def test_a_stop_after_a_restart_claims_too_because_the_final_checkpoint_needs_the_key() -> None:
    plan = reconcile([spec(desired=DesiredRun.STOP)], {P1: here(Phase.RUNNING)}, NOW)
    assert (plan.claim, plan.stop) == ([P1], [P1])


def test_a_stop_under_way_is_left_alone() -> None:
    for phase in (Phase.STOPPING, Phase.ENDING):
        plan = reconcile([spec(desired=DesiredRun.STOP)], {P1: here(phase, granted=True)}, NOW)
        assert plan == Plan()


def test_a_stop_of_what_is_not_here_is_answered() -> None:
    assert reconcile([spec(desired=DesiredRun.STOP)], {}, NOW) == Plan(report_absent=[P1])


def test_a_newer_epoch_waits_until_the_older_is_dead() -> None:
    old = here(Phase.RUNNING, granted=True)
    assert reconcile([spec(P2)], {P1: old}, NOW) == Plan(kill=[P1])
    assert reconcile([spec(P2)], {P1: here(Phase.ENDED)}, NOW) == Plan(claim=[P2], forget=[P1])


def test_an_old_order_beside_a_newer_one_is_ignored() -> None:
    assert reconcile([spec(P1), spec(P2)], {}, NOW) == Plan(claim=[P2])
    assert reconcile([spec(P1)], {P2: here(Phase.ENDED)}, NOW) == Plan(forget=[P2])


def test_an_end_is_kept_until_it_was_heard() -> None:
    assert reconcile([spec()], {P1: here(Phase.ENDED)}, NOW) == Plan()
    assert reconcile([spec()], {P1: here(Phase.ENDED, end_acknowledged=True)}, NOW) == Plan(forget=[P1])
    assert reconcile([], {P1: here(Phase.ENDED)}, NOW) == Plan(forget=[P1])


def test_jobs_do_not_disturb_each_other() -> None:
    other = LeaseId("p9", 7)
    actual = {P1: here(Phase.RUNNING, granted=True)}
    assert reconcile([spec(), spec(other, job_id="other")], actual, NOW) == Plan(claim=[other])


leases = st.sampled_from([LeaseId(f"p{n}", n) for n in range(1, 5)])
actuals = st.builds(
    Actual,
    job_id=st.sampled_from(["a", "b"]),
    phase=st.sampled_from(list(Phase)),
    granted=st.booleans(),
    claim_sent_at=st.none() | st.floats(0, 200),
    refused=st.booleans(),
    end_acknowledged=st.booleans(),
)
wishes = st.lists(
    st.tuples(leases, st.sampled_from(list(DesiredRun)), st.sampled_from(["a", "b"])), max_size=4
)


@settings(max_examples=1000)
@given(wishes, st.dictionaries(leases, actuals))
def test_h2_no_plan_ever_runs_two_epochs_of_a_job(
    wanted: list[tuple[LeaseId, DesiredRun, str]], actual: dict[LeaseId, Actual]
) -> None:
    jobs = {lease: placement.job_id for lease, placement in actual.items()}
    desired = {lease: spec(lease, wish, jobs.get(lease, job_id)) for lease, wish, job_id in wanted}
    plan = reconcile(desired.values(), actual, NOW)

    for lease in plan.start:
        assert actual[lease].granted
        assert not actual[lease].refused
        assert desired[lease].desired is DesiredRun.RUN
    for lease in plan.claim:
        assert lease in desired
        if lease not in actual:
            alive = [
                other for other, p in actual.items() if p.job_id == desired[lease].job_id and p.phase in ALIVE
            ]
            assert not alive, "an older run is still alive"
    touched = [set(plan.kill), set(plan.stop), set(plan.start), set(plan.forget), set(plan.report_absent)]
    for one, other in itertools.combinations(touched, 2):
        assert not one & other
    for lease, placement in actual.items():
        if placement.phase is not Phase.ENDED and lease not in desired:
            assert lease in (plan.forget if placement.phase is Phase.CLAIMING else plan.kill)
    assert reconcile(desired.values(), actual, NOW) == plan
