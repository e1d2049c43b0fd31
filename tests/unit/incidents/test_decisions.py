"""What an incident is attributed to: each class from two kinds of evidence, nothing from one, nothing from contradictions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from gp4u_protocol.messages import AgentLife
from gp4u_server.catalyst.incidents.decisions import (
    NOTHING,
    Effect,
    attribute,
    effect_of,
    in_words,
    judge,
    look_again_at,
)
from gp4u_server.catalyst.incidents.types import (
    Attribution,
    Cause,
    DeviceSign,
    Facts,
    Finding,
    IncidentKind,
    Neighbours,
    Witness,
)
from gp4u_server.catalyst.incidents.witnesses import findings_of
from hypothesis import given
from hypothesis import strategies as st

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIFE = AgentLife(boot_id="b1", run_id="r1", booted_s_ago=9000, running_s=800)
ALONE = Neighbours(of_gateway=1, gateway_nodes=40, gateway_owners=1, of_site=1, site_nodes=3)
LOSS = Facts(IncidentKind.NODE_LOST, AT, AT + timedelta(seconds=6), before=LIFE, neighbours=ALONE)
FAILURE = Facts(IncidentKind.JOB_FAILED, AT, AT, reason="exit_1", node_stayed=True)


def sign(kind: str, code: str, severity: str, seconds: float = -60) -> DeviceSign:
    return DeviceSign("GPU-1", kind, code, severity, AT + timedelta(seconds=seconds))


def back(away_s: float = 90, **life: object) -> dict[str, object]:
    return {"after": LIFE.model_copy(update=life), "away_s": away_s}


XID_79 = sign("xid", "79", "critical")
REBOOTED = back(boot_id="b2", run_id="r2", last_run="crashed")
SHUT_DOWN = back(boot_id="b2", run_id="r2", last_run="clean")
CRASHED = back(run_id="r2", last_run="crashed")
LIVED_ON = back()
MASS = Neighbours(of_gateway=20, gateway_nodes=40, gateway_owners=7, of_site=2, site_nodes=3)
SITE = Neighbours(of_gateway=3, gateway_nodes=40, gateway_owners=1, of_site=3, site_nodes=3)


@pytest.mark.parametrize(
    ("what", "facts", "cause", "sub_class"),
    [
        ("XID and it alone went", replace(LOSS, signs=(XID_79,)), "host_hardware", "xid_79"),
        ("ECC", replace(LOSS, signs=(sign("ecc", "dbe", "critical"),)), "host_hardware", "ecc"),
        ("overheating", replace(LOSS, signs=(sign("thermal", "hot", "warning"),)), "host_hardware", "thermal"),
        ("power or kernel", replace(LOSS, **REBOOTED), "host_hardware", "machine_restarted"),
        ("a fault explains the crash of the agent", replace(LOSS, signs=(XID_79,), **CRASHED), "host_hardware", "xid_79"),
        ("a fault outweighs an orderly restart", replace(LOSS, signs=(XID_79,), **SHUT_DOWN), "host_hardware", "xid_79"),
        ("switched off", replace(LOSS, **SHUT_DOWN), "host_software", "machine_shut_down"),
        ("the agent crashed", replace(LOSS, **CRASHED), "host_software", "agent_crashed"),
        ("the agent was ended", replace(LOSS, **back(run_id="r2", last_run="clean")), "host_software", "agent_stopped"),
        ("the machine slept", replace(LOSS, **back(stood_still_s=80)), "host_software", "machine_paused"),
        ("its old connection goes on", replace(LOSS, same_session=True, away_s=9), "host_software", "machine_paused"),
        ("cut off", replace(LOSS, **LIVED_ON), "network", "link_lost"),
        ("the site's link", replace(LOSS, neighbours=SITE, **LIVED_ON), "network", "site_link"),
        ("the site's power", replace(LOSS, neighbours=SITE, **REBOOTED), "host_hardware", "machine_restarted"),
        ("a dead gateway", replace(LOSS, ours=True), "platform", "gateway_died"),
        ("a gateway that was away", replace(LOSS, gateway_unsure=True), "platform", "authority_gap"),
        ("many owners at once", replace(LOSS, neighbours=MASS, **LIVED_ON), "platform", "mass_loss"),
        ("our outage, whatever else", replace(LOSS, ours=True, signs=(XID_79,), **REBOOTED), "platform", "gateway_died"),
        ("an exit and a healthy node", FAILURE, "renter_job", "exit_1"),
        ("its own memory limit", replace(FAILURE, reason="out_of_memory"), "renter_job", "out_of_memory"),
        ("a segmentation fault", replace(FAILURE, reason="signal_11"), "renter_job", "signal_11"),
        ("an XID of a program", replace(FAILURE, signs=(sign("xid", "31", "info", -2),)), "renter_job", "xid_31"),
        ("a card that fell off", replace(FAILURE, signs=(replace(XID_79, at=AT),)), "host_hardware", "xid_79"),
        ("the shim died", replace(FAILURE, kind=IncidentKind.RUN_LOST, reason="shim_lost"), "host_software", "shim_lost"),
        ("bad everywhere", replace(FAILURE, kind=IncidentKind.START_FAILED, reason="image_unavailable", failed_elsewhere=2), "renter_job", None),
        ("bad here for others", replace(FAILURE, kind=IncidentKind.START_FAILED, reason="image_unavailable", others_failed_here=3), "host_software", "fails_jobs"),
        ("not fetched in our outage", replace(FAILURE, kind=IncidentKind.START_FAILED, reason="fetch_failed", gateway_unsure=True), "platform", "authority_gap"),
        ("an exit in our outage is an exit", replace(FAILURE, gateway_unsure=True), "renter_job", "exit_1"),
    ],
)  # fmt: skip
def test_two_kinds_of_evidence_make_a_cause(
    what: str, facts: Facts, cause: str, sub_class: str | None
) -> None:
    found = attribute(facts)
    assert (found.cause, found.sub_class) == (cause, sub_class), (what, found)
    assert found.witnesses >= 2 or found.cause is Cause.PLATFORM
    assert found.sentence.startswith("Attributed to")


@pytest.mark.parametrize(
    "facts",
    [
        LOSS,
        replace(LOSS, neighbours=MASS),
        replace(LOSS, neighbours=SITE, socket_open=False),
        replace(LOSS, signs=(sign("xid", "31", "info"),)),  # a program's own error says nothing of the node
        replace(LOSS, signs=(sign("xid", "79", "critical", -3 * 3600),)),  # long before
        replace(FAILURE, node_stayed=None),
        replace(FAILURE, node_stayed=False, reason="shim_lost"),
    ],
)
def test_one_kind_of_evidence_blames_nobody(facts: Facts) -> None:
    found = attribute(facts)
    assert found.cause is Cause.UNKNOWN
    assert "takes two" in found.sentence
    assert len(found.findings) == 1


@pytest.mark.parametrize(
    "facts",
    [
        replace(LOSS, signs=(XID_79,), **LIVED_ON),
        replace(LOSS, neighbours=MASS, **REBOOTED),
        replace(FAILURE, reason="out_of_memory", ran_elsewhere=1),
    ],
)
def test_kinds_that_contradict_each_other_blame_nobody(facts: Facts) -> None:
    found = attribute(facts)
    assert (found.cause, found.sub_class) == (Cause.UNKNOWN, "contradiction")


@pytest.mark.parametrize(
    "reason", ["exit_1", "exit_137", "signal_6", "signal_9", "out_of_memory", "disk_full"]
)
@pytest.mark.parametrize("others", [0, 2, 9])
def test_what_a_job_can_do_to_itself_never_counts_against_the_host(reason: str, others: int) -> None:
    """Else anybody could lower a competitor's score with jobs that fail on purpose, hot cards included."""
    heat = (sign("thermal", "hot", "warning", -5), sign("xid", "13", "info", -1))
    for signs in ((), heat):
        found = attribute(replace(FAILURE, reason=reason, signs=signs))
        assert found.cause in (Cause.RENTER_JOB, Cause.UNKNOWN)
        if (
            reason != "signal_9"
        ):  # a kill from outside is told by others' kills, which `repository.comparison` leaves out
            crowd = attribute(replace(FAILURE, reason=reason, signs=signs, others_failed_here=others))
            assert crowd.cause in (Cause.RENTER_JOB, Cause.UNKNOWN)


def test_an_agent_that_says_nothing_of_itself_is_no_witness() -> None:
    assert attribute(replace(LOSS, before=None, **LIVED_ON)).cause is Cause.UNKNOWN
    assert attribute(replace(LOSS, after=None, away_s=50)).cause is Cause.UNKNOWN


def test_h23_an_outage_of_ours_never_touches_a_score() -> None:
    for ours, unsure in ((True, False), (False, True), (True, True)):
        for extra in (REBOOTED, CRASHED, LIVED_ON, SHUT_DOWN, {}):
            for signs in ((), (XID_79,)):
                facts = replace(LOSS, ours=ours, gateway_unsure=unsure, signs=signs, **extra)
                cause = attribute(facts).cause
                assert cause is Cause.PLATFORM
                assert (
                    effect_of(facts.kind, cause, away_s=90, off_duty=False, counted_already=False) == NOTHING
                )


FINDINGS = st.lists(
    st.builds(
        lambda witness, fits, which: Finding(
            witness, "c", "s", frozenset(fits), sorted(fits)[which % len(fits)] if which < 6 else None
        ),
        st.sampled_from([each for each in Witness if each is not Witness.PLATFORM]),
        st.sets(st.sampled_from([each for each in Cause if each is not Cause.UNKNOWN]), min_size=1),
        st.integers(0, 9),
    ),
    max_size=6,
)


@given(FINDINGS)
def test_whatever_is_found_a_cause_has_two_witnesses_and_fits_all(findings: list[Finding]) -> None:
    found = judge(findings)
    assert found.findings == tuple(findings)
    if found.cause is not Cause.UNKNOWN:
        assert len({each.witness for each in findings}) >= 2
        assert all(found.cause in each.fits for each in findings)
        assert any(each.points_at is found.cause for each in findings)


@given(FINDINGS)
def test_the_order_of_findings_does_not_matter(findings: list[Finding]) -> None:
    assert judge(findings).cause is judge(findings[::-1]).cause


@pytest.mark.parametrize(
    ("kind", "cause", "expected"),
    [
        ("node_lost", "host_hardware", Effect(1, 0, 90_000)),
        ("node_lost", "host_software", Effect(1, 0, 90_000)),
        ("node_lost", "network", Effect(0, 1, 90_000)),
        ("run_lost", "host_software", Effect(1, 0, 0)),
        ("job_failed", "host_hardware", Effect(1, 0, 0)),
        ("start_failed", "host_software", NOTHING),
        ("node_lost", "platform", NOTHING),
        ("node_lost", "unknown", NOTHING),
        ("job_failed", "renter_job", NOTHING),
    ],
)
def test_what_each_cause_does_to_the_record(kind: str, cause: str, expected: Effect) -> None:
    asked = {"away_s": 90.0, "off_duty": False, "counted_already": False}
    assert effect_of(IncidentKind(kind), Cause(cause), **asked) == expected
    assert effect_of(IncidentKind(kind), Cause(cause), **{**asked, "off_duty": True}) == NOTHING
    again = effect_of(IncidentKind(kind), Cause(cause), **{**asked, "counted_already": True})
    assert again == Effect(0, 0, expected.away_ms)  # one event, one loss; the time is its own


def test_when_it_is_looked_at_again() -> None:
    unknown = Attribution(Cause.UNKNOWN, None, "")
    known = Attribution(Cause.NETWORK, None, "")
    asked = {"now": AT, "deadline": AT + timedelta(hours=6), "looks": 0, "pause_s": 15.0}
    lost, failed = IncidentKind.NODE_LOST, IncidentKind.JOB_FAILED
    assert look_again_at(known, kind=lost, is_back=False, **asked) is None
    assert look_again_at(unknown, kind=lost, is_back=True, **asked) is None
    assert look_again_at(unknown, kind=lost, is_back=False, **asked) == asked["deadline"]
    assert look_again_at(unknown, kind=failed, is_back=False, **asked) == AT + timedelta(seconds=60)
    late = {**asked, "now": asked["deadline"]}
    assert look_again_at(unknown, kind=lost, is_back=False, **late) is None


def test_words_for_people() -> None:
    assert in_words(Cause.HOST_HARDWARE, "xid_79") == "the host's hardware (XID 79)"
    assert in_words(Cause.RENTER_JOB, None) == "the job itself"
    assert in_words(Cause.UNKNOWN, "contradiction").startswith("nobody")
    for facts in (LOSS, replace(LOSS, **CRASHED), FAILURE):
        assert all(each.sentence.endswith(".") for each in findings_of(facts))
