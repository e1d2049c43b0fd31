"""What a poll reads: what changed, what is unsettled, and a slice of the rest."""

from gp4u_server.catalyst.health.decisions import HeldRow
from gp4u_server.gateway.decisions import AbsentNodes
from gp4u_server.gateway.poll_cursor import SLICE_MIN, SLICES, UNSETTLED_MAX, PollCursor, slice_size

FLEET = [f"node_{number:05}" for number in range(9_000)]


def test_a_round_looks_at_everybody_once_and_begins_again() -> None:
    cursor = PollCursor()
    seen: list[str] = []
    for _ in range(SLICES):
        chosen = cursor.by_id(lambda: FLEET, len(FLEET))
        assert len(chosen) <= slice_size(len(FLEET)) == len(FLEET) / SLICES
        seen += chosen
    assert sorted(seen) == FLEET
    assert len(cursor.by_id(lambda: FLEET, len(FLEET))) == slice_size(len(FLEET))


def test_a_small_fleet_is_looked_at_as_a_whole() -> None:
    cursor = PollCursor()
    small = FLEET[:SLICE_MIN]
    for _ in range(3):
        assert sorted(cursor.by_id(lambda: small, len(small))) == small


def test_an_unsettled_node_is_read_until_it_is_settled() -> None:
    cursor = PollCursor()
    cursor.look_again("node_x")
    assert "node_x" in cursor.by_id(lambda: FLEET, len(FLEET))
    assert "node_x" in cursor.by_id(lambda: FLEET, len(FLEET))
    cursor.settled("node_x")
    assert "node_x" not in cursor.by_id(lambda: FLEET, len(FLEET))


def test_more_unsettled_nodes_than_fit_take_turns() -> None:
    cursor = PollCursor()
    for node_id in FLEET[: 3 * UNSETTLED_MAX]:
        cursor.look_again(node_id)
    turns = [cursor.by_id(list, 0) for _ in range(3)]
    assert sorted(node_id for turn in turns for node_id in turn) == FLEET[: 3 * UNSETTLED_MAX]


def test_the_walk_over_what_the_database_calls_ours_ends_and_begins_anew() -> None:
    cursor = PollCursor()
    cursor.alive_read(["a", "c", "b"], 3)
    assert cursor.alive_after == "c"
    cursor.alive_read(["d"], 3)
    assert cursor.alive_after == ""
    cursor.alive_read([], 3)
    assert cursor.alive_after == ""


def test_numbers_that_run_backwards_are_another_databases_and_everything_is_read() -> None:
    cursor = PollCursor()
    cursor.begin(100)
    cursor.changes_read(100)
    cursor.changes_read(140)
    assert cursor.since == 140
    cursor.changes_read(90)
    assert cursor.since is None
    cursor.changes_read(91)
    assert cursor.since == 91


def test_a_new_life_forgets_the_old_one() -> None:
    cursor = PollCursor()
    cursor.look_again("node_x")
    cursor.alive_read(["a"], 1)
    cursor.begin(7)
    assert (cursor.since, cursor.unsettled, cursor.alive_after) == (7, 0, "")


def test_an_absent_node_that_was_not_asked_for_waits_on() -> None:
    absent = AbsentNodes(ttl_s=5.0)
    row = HeldRow(3, 0, "online")
    assert absent.observe({"a": row, "b": row}, set(), 0.0, read={"a", "b"}) == []
    assert absent.observe({"a": row}, set(), 4.0, read={"a"}) == []
    assert sorted(absent.watched) == ["a", "b"]
    # Only what was just read is judged; its wait began at the first sight.
    assert [change.node_id for change in absent.observe({"b": row}, set(), 6.0, read={"b"})] == ["b"]
    assert absent.observe({}, set(), 7.0, read={"a", "b"}) == []
    assert list(absent.watched) == []
