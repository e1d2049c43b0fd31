"""What a gateway does when its own word and the database's differ, and when a write fails."""

import pytest
from gp4u_server.catalyst.health.decisions import HeldRow, Write, writes_of_connecting
from gp4u_server.catalyst.health.lease_table import Change, NodeState
from gp4u_server.gateway.decisions import (
    ATTEMPTS_MAX,
    OUTAGE_ATTEMPTS_MAX,
    RETRY_MAX_S,
    AbsentNodes,
    UnwrittenLosses,
    rebuilt,
    retry_after_s,
)

ONLINE, SUSPECT, LOST = NodeState.ONLINE, NodeState.SUSPECT, NodeState.LOST


def row(liveness: str, session_no: int = 3) -> HeldRow:
    return HeldRow(session_no, 1, liveness)


@pytest.mark.parametrize("state", list(NodeState))
def test_nothing_is_rebuilt_where_both_agree(state: NodeState) -> None:
    assert rebuilt(None, "n", state, 4.0, row(state.value)) == []


@pytest.mark.parametrize(
    ("state", "liveness", "was", "silent_s"),
    [
        (LOST, "online", ONLINE, 9.0),
        (LOST, "suspect", SUSPECT, 9.0),
        (SUSPECT, "online", ONLINE, 9.0),
        (ONLINE, "suspect", SUSPECT, 0.0),
        (ONLINE, "lost", LOST, 0.0),
        (ONLINE, "offline", LOST, 0.0),
    ],
)
def test_a_change_that_was_lost_is_made_again_from_the_state(
    state: NodeState, liveness: str, was: NodeState, silent_s: float
) -> None:
    assert rebuilt(None, "n", state, 9.0, row(liveness)) == [Change("n", 3, state, silent_s, was)]


def test_h2_a_loss_that_is_owed_comes_before_the_return() -> None:
    owed = Change("n", 3, LOST, 6.0, SUSPECT)
    # The node beats again and the database never heard that it was away: its placements must end all the same, because
    # the table renews them no more.
    assert rebuilt(owed, "n", ONLINE, 0.1, row("online")) == [owed, Change("n", 3, ONLINE, 0.0, LOST)]
    assert rebuilt(owed, "n", LOST, 7.0, row("online")) == [owed]


def test_an_owed_loss_ages_and_is_settled_by_its_writing() -> None:
    losses = UnwrittenLosses()
    change = Change("n", 3, LOST, 6.0, SUSPECT)
    losses.declared(change, 100.0)
    assert losses.bars("n", 3)
    assert losses.owed("n", 3, 104.0) == Change("n", 3, LOST, 10.0, SUSPECT)
    assert losses.owed("n", 4, 104.0) is None
    losses.forget_older("n", 3)
    assert losses.bars("n", 3)
    losses.forget_older("n", 4)
    assert not losses.bars("n", 3)


def test_a_node_that_nobody_knows_is_lost_after_a_whole_lease() -> None:
    absent = AbsentNodes(ttl_s=5.0)
    assert absent.observe({"n": row("online")}, set(), 100.0) == []
    assert absent.observe({"n": row("online")}, set(), 105.4) == []
    assert absent.observe({"n": row("online")}, set(), 105.5) == [
        Change("n", 3, LOST, 5.5, ONLINE, ours=True)
    ]


@pytest.mark.parametrize(
    ("meanwhile", "known"),
    [
        ({"n": row("online", 4)}, set()),
        ({"n": row("online")}, {"n"}),
        ({}, set()),
        ({"n": row("lost")}, set()),
    ],
)
def test_the_wait_for_an_absent_node_begins_anew_when_anything_happened(
    meanwhile: dict[str, HeldRow], known: set[str]
) -> None:
    absent = AbsentNodes(ttl_s=5.0)
    absent.observe({"n": row("online")}, set(), 100.0)
    assert absent.observe(meanwhile, known, 106.0) == []
    assert absent.observe({"n": row("online", 5)}, set(), 111.0) == []


def test_pauses_double_up_to_a_limit_and_end() -> None:
    pauses = [retry_after_s(attempt, outage=False) for attempt in range(1, ATTEMPTS_MAX)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(pause for pause in pauses if pause is not None) <= RETRY_MAX_S
    assert retry_after_s(ATTEMPTS_MAX, outage=False) is None
    assert retry_after_s(ATTEMPTS_MAX, outage=True) == RETRY_MAX_S
    assert retry_after_s(OUTAGE_ATTEMPTS_MAX, outage=True) is None


def test_h23_time_without_a_gateway_is_ours() -> None:
    assert writes_of_connecting(60.0, 5.0, ours=True) == (Write.INTERRUPTED_BY_US, Write.RESTORED)
    assert writes_of_connecting(60.0, 5.0) == (Write.INTERRUPTED, Write.RESTORED)
    assert writes_of_connecting(1.0, 5.0, ours=True) == (Write.RESTORED,)
