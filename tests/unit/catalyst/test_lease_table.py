"""The gateway's half of the lease, and the watch over gateways."""

from datetime import UTC, datetime, timedelta

from gp4u_protocol.lease import LEASE_TTL_S, replace_after_s
from gp4u_protocol.lease_core import LeaseId
from gp4u_server.catalyst.health.authority import AuthorityWatch, authority_until, takeover_after_s
from gp4u_server.catalyst.health.decisions import Write, writes_of
from gp4u_server.catalyst.health.lease_table import (
    CUT_OFF_GRACE_S,
    MASS_HOLD_S,
    Change,
    LeaseTable,
    NodeState,
)

LEASE = LeaseId("p", 1)
STAMP = datetime(2026, 1, 1, tzinfo=UTC)


def table(nodes: int = 1) -> LeaseTable:
    made = LeaseTable()
    made.authority_renewed(1e9)
    for number in range(nodes):
        made.opened(f"n{number}", "s", 1, {LEASE}, 0.0)
    return made


def sweep(made: LeaseTable, start: float, end: float) -> list[tuple[float, str, NodeState]]:
    found, now = [], start
    while now <= end + 1e-9:
        found += [(round(now, 3), change.node_id, change.state) for change in made.tick(now)]
        now += 0.1
    return found


def test_suspect_then_lost_and_not_a_moment_early() -> None:
    changes = sweep(table(), 0.0, 6.0)
    assert [state for _, _, state in changes] == [NodeState.SUSPECT, NodeState.LOST]
    assert changes[0][0] == 2.5
    assert changes[1][0] >= replace_after_s()


def test_h2_a_lost_node_is_renewed_nothing_even_when_it_beats_again() -> None:
    made = table()
    sweep(made, 0.0, 6.0)
    result = made.beat("n0", "s", [LEASE], 6.1)
    assert result is not None
    renewed, back, _ = result
    assert renewed == []
    assert back is not None
    assert back.state is NodeState.ONLINE
    assert back.was is NodeState.LOST


def test_h2_no_authority_no_renewal_and_no_grant() -> None:
    made = LeaseTable()
    made.authority_renewed(5.0)
    made.opened("n0", "s", 1, {LEASE}, 3.0)
    assert made.beat("n0", "s", [LEASE], 4.9) == ([LEASE], None, LEASE_TTL_S)
    assert made.beat("n0", "s", [LEASE], 5.0) == ([], None, LEASE_TTL_S)
    assert not made.granted("n0", "s", LeaseId("q", 1), 5.0)


def test_only_reported_and_held_leases_of_the_newest_session_are_renewed() -> None:
    made = table()
    assert made.beat("n0", "s", [LeaseId("p", 2), LeaseId("x", 1)], 1.0) == ([], None, LEASE_TTL_S)
    made.opened("n0", "s2", 2, {LEASE}, 1.5)
    assert made.beat("n0", "s", [LEASE], 1.6) is None
    made.keep_only("n0", [])
    assert made.beat("n0", "s2", [LEASE], 1.7) == ([], None, LEASE_TTL_S)


def test_h23_our_own_stall_loses_nobody_and_the_time_frozen_by_it_is_ours() -> None:
    made = table(4)
    sweep(made, 0.0, 1.0)
    assert made.tick(61.0) == []
    for number in range(4):
        answer = made.beat(f"n{number}", "s", [LEASE], 61.1)
        assert answer is not None
        assert answer.renewed == [LEASE]
        assert answer.back == Change(
            f"n{number}", 1, NodeState.ONLINE, 61.1, NodeState.ONLINE, ttl_s=LEASE_TTL_S
        )
        assert writes_of(answer.back) == (Write.INTERRUPTED_BY_US, Write.RESTORED)
    assert made.beat("n0", "s", [LEASE], 62.0) == ([LEASE], None, LEASE_TTL_S)


def test_h5_a_stall_of_ours_that_is_shorter_than_a_lease_froze_nothing() -> None:
    made = table()
    made.tick(0.0)
    made.tick(4.5)
    assert made.beat("n0", "s", [LEASE], 4.6) == ([LEASE], None, LEASE_TTL_S)


def test_h23_mass_loss_is_held_back_and_a_return_forgives_it() -> None:
    made = table(6)
    for number in range(3):
        made.beat(f"n{number}", "s", [], 0.0)
    changes, now = [], 0.0
    while now < 20.0:
        for number in range(3, 6):
            made.beat(f"n{number}", "s", [], now)
        changes += made.tick(now)
        now += 0.1
    assert {change.state for change in changes} == {NodeState.SUSPECT}
    assert made.holds_back
    for number in range(6):
        made.beat(f"n{number}", "s", [], now)
    assert made.tick(now + 0.1) == []
    assert not made.holds_back


def test_h23_a_mass_loss_that_lasts_is_believed() -> None:
    lost = [at for at, _, state in sweep(table(6), 0.0, MASS_HOLD_S + 10) if state is NodeState.LOST]
    assert len(lost) == 6
    assert min(lost) >= MASS_HOLD_S


def test_two_nodes_of_six_are_lost_without_delay() -> None:
    made, changes, now = table(6), [], 0.0
    while now < 7.0:
        for number in range(2, 6):
            made.beat(f"n{number}", "s", [], now)
        changes += [change.state for change in made.tick(now)]
        now += 0.1
    assert changes.count(NodeState.LOST) == 2


def watched(
    watch: AuthorityWatch, seconds: float, *, step: float = 1.0, renewed: bool = False
) -> list[float]:
    dead, now, stamp = [], 0.0, STAMP
    while now <= seconds:
        stamp += timedelta(seconds=1) if renewed else timedelta()
        if watch.observe({"gw": stamp}, now, now):
            dead.append(now)
        now += step
    return dead


def test_h23_gateway_is_dead_only_after_window_and_ttl_of_our_own_watching() -> None:
    dead = watched(AuthorityWatch(), 30.0)
    assert dead[0] >= takeover_after_s()
    assert dead[0] - takeover_after_s() <= 1.0


def test_h23_renewing_gateway_is_never_dead() -> None:
    assert watched(AuthorityWatch(), 100.0, renewed=True) == []


def test_h23_reads_with_gaps_prove_nothing() -> None:
    assert watched(AuthorityWatch(), 300.0, step=4.0) == []


def test_h2_authority_ends_before_anybody_may_take_over() -> None:
    for gateway_rate in (0.95, 1.0, 1.05):
        for controller_rate in (0.95, 1.0, 1.05):
            assert authority_until(0.0) / gateway_rate + 5.0 < takeover_after_s() / controller_rate


def test_h23_a_gateway_that_is_cut_off_judges_nobody_and_gives_time_to_come_back() -> None:
    made = LeaseTable()
    made.authority_renewed(9.5)
    made.opened("n0", "s", 1, {LEASE}, 9.0)
    assert sweep(made, 9.0, 60.0) == []  # sent away at 9.5, and our database is away until 60
    made.authority_renewed(1e9)
    changes = sweep(made, 60.0, 60.0 + CUT_OFF_GRACE_S + 6.0)
    assert [state for _, _, state in changes] == [NodeState.SUSPECT, NodeState.LOST]
    assert changes[1][0] >= 60.0 + CUT_OFF_GRACE_S + replace_after_s() - 0.1
