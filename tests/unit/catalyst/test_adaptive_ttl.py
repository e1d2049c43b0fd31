"""A change of the TTL is safe at any moment: the server counts with every TTL that may be in force."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from gp4u_protocol.lease import (
    DRIFT_MAX,
    GRACE_S,
    LEASE_TTL_MAX_S,
    LEASE_TTL_S,
    freeze_after_s,
    replace_after_s,
)
from gp4u_protocol.lease_core import LeaseHolder, LeaseId, link_patience_s
from gp4u_server.catalyst.health.authority import AuthorityWatch, takeover_after_s
from gp4u_server.catalyst.health.lease_table import LeaseTable, NodeState, TtlNote
from gp4u_server.catalyst.health.link_quality import Ttl

LEASE = LeaseId("p", 1)
LONG = Ttl(15.0, "a test")
SHORT = Ttl(5.0, None)


def table(noted_s: float | None = None) -> LeaseTable:
    made = LeaseTable()
    made.authority_renewed(1e9)
    made.opened("n", "s", 1, {LEASE}, 0.0, noted_s=noted_s)
    return made


def lengthen(made: LeaseTable, now: float = 0.0) -> None:
    made.ask_for("n", LONG)
    for note in made.notes_due(now):
        made.noted(note)


def lost_at(made: LeaseTable, start: float, end: float) -> float | None:
    now = start
    while now < end:
        if any(change.state is NodeState.LOST for change in made.tick(now)):
            return now
        now += 0.1
    return None


def ttl_of(made: LeaseTable, now: float) -> float:
    answer = made.beat("n", "s", [LEASE], now)
    assert answer is not None
    return answer.ttl_s


def test_h2_a_longer_ttl_is_granted_only_when_the_row_says_so() -> None:
    made = table()
    made.ask_for("n", LONG)
    assert ttl_of(made, 1.0) == LEASE_TTL_S
    [note] = made.notes_due(1.0)
    assert note == TtlNote("n", 1, 15.0, "a test")
    assert ttl_of(made, 2.0) == LEASE_TTL_S, "the write may still fail"
    made.noted(note)
    assert ttl_of(made, 3.0) == 15.0
    assert made.notes_due(3.0) == []


def test_h2_a_note_of_an_earlier_session_changes_nothing() -> None:
    made = table()
    made.ask_for("n", LONG)
    [note] = made.notes_due(1.0)
    made.opened("n", "s", 2, {LEASE}, 2.0, noted_s=LEASE_TTL_S)
    made.noted(note)
    assert ttl_of(made, 3.0) == LEASE_TTL_S


def test_h2_a_shorter_ttl_leaves_longer_leases_in_force() -> None:
    made = table()
    lengthen(made)
    assert ttl_of(made, 1.0) == 15.0
    made.ask_for("n", SHORT)
    assert ttl_of(made, 2.0) == 5.0
    found = lost_at(made, 2.0, 30.0)
    assert found is not None
    assert found >= 1.0 + replace_after_s(15.0), "the answer to the beat at 1 s granted that much"


def test_h2_the_row_says_the_shorter_only_when_the_longer_is_over() -> None:
    made, now = table(), 1.0
    lengthen(made)
    ttl_of(made, now)
    made.ask_for("n", SHORT)
    while now < 1.0 + replace_after_s(15.0):
        assert made.notes_due(now) == []
        assert ttl_of(made, now) == 5.0
        now += 0.5
    assert made.notes_due(now) == [TtlNote("n", 1, 5.0, None)]
    # It may be written although nobody heard of it: from here on a longer one needs a note of its own.
    made.ask_for("n", LONG)
    assert ttl_of(made, now) == 5.0
    assert [note.ttl_s for note in made.notes_due(now)] == [15.0]


def test_a_note_that_failed_is_due_again() -> None:
    made = table(noted_s=15.0)
    now = replace_after_s(15.0) + 1.0
    made.ask_for("n", SHORT)
    assert made.notes_due(now + 20.0) == made.notes_due(now + 21.0) != []


def test_h2_the_first_silence_of_a_session_counts_with_what_was_granted_before_it() -> None:
    for noted_s in (LEASE_TTL_S, 9.0, LEASE_TTL_MAX_S):
        found = lost_at(table(noted_s), 0.0, 30.0)
        assert found is not None
        assert 0.0 <= found - replace_after_s(noted_s) <= 0.2


def test_h2_a_grant_counts_with_the_ttl_that_it_carries() -> None:
    made = table()
    assert made.claim_received("n", "s", 10.0)
    lengthen(made, 10.0)
    made.ask_for("n", SHORT)
    lengthen(made, 10.1)
    assert made.granted("n", "s", LeaseId("q", 1), 11.0)
    assert made.ttl_of("n") == 15.0
    found = lost_at(made, 11.0, 40.0)
    assert found is not None
    assert found >= 10.0 + replace_after_s(15.0)


def test_h2_a_dead_gateway_is_taken_over_after_its_longest_lease() -> None:
    stamp = datetime(2026, 1, 1, tzinfo=UTC)
    watch, now, dead = AuthorityWatch(), 0.0, {}
    while not dead:
        now += 1.0
        # It was noted a moment ago, and counts from when the row stands still all the same.
        ttls_s = {"gw": 12.0} if now > takeover_after_s() - 2.0 else {}
        dead = watch.observe({"gw": stamp}, now, now, ttls_s)
    assert now - 1.0 >= takeover_after_s(12.0)
    assert now - 1.0 - takeover_after_s(12.0) <= 1.0


def test_an_agent_that_does_not_take_ttls_from_answers_keeps_its_session_s() -> None:
    made = table()
    for now in (3.0, 7.0, 11.0):
        answer = made.beat("n", "s", [LEASE], now, int(now), None)
        assert answer is not None
        assert answer.ttl_s == LEASE_TTL_S
    assert made.notes_due(12.0) == []


def test_a_slow_link_is_noticed_by_the_age_of_its_proofs_though_beats_come_every_second() -> None:
    made = table()
    for second in range(1, 30):
        made.tick(float(second))
        # The answers need four seconds.
        made.beat("n", "s", [LEASE], float(second), second, max(0, second - 4))
        for note in made.notes_due(float(second)):
            made.noted(note)
    assert ttl_of(made, 30.0) == 8.0
    [note] = made.notes_due(60.0) or [TtlNote("n", 1, 8.0, "proofs of its leases were up to 4.0 s old")]
    assert note.why == "proofs of its leases were up to 4.0 s old"


def test_h23_our_own_stall_says_nothing_of_anybody_s_link() -> None:
    for tick_first in (True, False):
        made = table()
        for second in range(1, 6):
            made.tick(float(second))
            made.beat("n", "s", [LEASE], float(second), second, second - 1)
        if tick_first:
            made.tick(13.0)
        for late in range(6, 14):  # what waited in the socket
            made.beat("n", "s", [LEASE], 13.0 + late / 100, late, 5)
        made.tick(13.2)
        made.beat("n", "s", [LEASE], 14.0, 14, 13)
        assert made.notes_due(14.0) == []


@pytest.mark.parametrize("ttl_s", [LEASE_TTL_S, 7.0, 11.0, LEASE_TTL_MAX_S])
def test_a_half_open_link_is_left_early_enough_to_find_another_gateway(ttl_s: float) -> None:
    assert link_patience_s(1.0, ttl_s) == pytest.approx(ttl_s / 2)
    assert link_patience_s(1.0, ttl_s) + 1.0 < freeze_after_s(ttl_s)


# --- all of it, by chance -----------------------------------------------------------------------------------


@dataclass
class Row:
    """The node's row."""

    session_no: int = 0
    ttl_s: float = LEASE_TTL_S


@dataclass
class Net:
    """A node with its agent, two gateways one after the other or in turn, frames that take any time; true time."""

    chance: random.Random
    row: Row = field(default_factory=Row)
    now: float = 0.0

    def __post_init__(self) -> None:
        # Clocks at the edges of what is promised.
        rates = (1 - DRIFT_MAX, 1 + DRIFT_MAX)
        self.node_rate = self.chance.choice(rates)
        self.gateways = [(LeaseTable(), self.chance.choice(rates)) for _ in range(2)]
        self.holder = LeaseHolder()
        self.holder.adopt(*LEASE)
        self.notes: list[tuple[LeaseTable, TtlNote]] = []
        self.at = 0
        self.seq = 0
        for gateway, _ in self.gateways:
            gateway.authority_renewed(1e9)
        self.connect()

    def connect(self) -> None:
        self.at = self.chance.randrange(2)
        gateway, rate = self.gateways[self.at]
        self.row.session_no += 1
        ttl_s = gateway.opened(
            "n",
            f"s{self.row.session_no}",
            self.row.session_no,
            {LEASE},
            self.now * rate,
            noted_s=self.row.ttl_s,
        )
        self.seq = 0
        self.holder.begin_session(f"s{self.row.session_no}", ttl_s)

    def beat(self) -> None:
        gateway, rate = self.gateways[self.at]
        session, sent_at = f"s{self.row.session_no}", self.now
        self.seq += 1
        self.holder.heartbeat_sent(self.seq, sent_at * self.node_rate)
        self.now += self.chance.choice((0.0, 0.01, 3.0)) * self.chance.random()
        answer = gateway.beat("n", session, [LEASE], self.now * rate, self.seq, self.holder.acked_seq)
        if answer is not None and self.chance.random() < 0.7:
            self.holder.heartbeat_acked(session, self.seq, answer.renewed, answer.ttl_s)

    def change(self) -> None:
        gateway, rate = self.gateways[self.chance.randrange(2)]
        gateway.ask_for("n", Ttl(self.chance.choice((5.0, 6.0, 10.0, 15.0)), None))
        for note in gateway.notes_due(self.now * rate):
            if note.session_no == self.row.session_no and self.chance.random() < 0.8:
                self.row.ttl_s = note.ttl_s
                if self.chance.random() < 0.8:  # or its answer is lost
                    gateway.noted(note)

    @property
    def frozen_at(self) -> float:
        """The true instant at which the shim has frozen the job."""
        deadline = self.holder.deadline(*LEASE)
        assert deadline is not None
        return deadline / self.node_rate + GRACE_S / (1 + DRIFT_MAX)


@pytest.mark.parametrize("seed", range(400))
def test_h2_freeze_precedes_loss_whatever_changes_in_between(seed: int) -> None:
    chance = random.Random(seed)
    net = Net(chance)
    for _ in range(chance.randrange(5, 60)):
        step = chance.random()
        if step < 0.6:
            net.now += chance.random()
            net.beat()
        elif step < 0.9:
            net.now += chance.random() * 2
            net.change()
        else:
            net.now += chance.random() * 4
            net.connect()
        for gateway, rate in net.gateways:
            for change in gateway.tick(net.now * rate):
                if change.state is NodeState.LOST and change.session_no == net.row.session_no:
                    assert net.now >= net.frozen_at - 1e-9
                    return
    # Silence: whoever holds the newest session declares the loss, and a controller could take the node over.
    gateway, rate = net.gateways[net.at]
    silent_from = net.now
    assert net.frozen_at <= silent_from + replace_after_s(net.row.ttl_s) / (1 + DRIFT_MAX) + 1e-9
    while net.now < silent_from + 40.0:
        net.now += 0.05
        if any(change.state is NodeState.LOST for change in gateway.tick(net.now * rate)):
            assert net.now >= net.frozen_at - 1e-9
            return
    pytest.fail("it was never lost")
