"""A database from a backup gives out no epoch twice: the decision, and that controllers notice by themselves."""

from gp4u_server.catalyst.jobs import fencing
from gp4u_server.foundation.incarnation import STRIDE, Mark, next_mark


def test_h25_a_mark_only_grows_while_nothing_was_put_back() -> None:
    mark, restored = next_mark(Mark(0, 7), Mark(0, 7))
    assert (mark, restored) == (Mark(0, 8), False)
    # Another controller has raised it since, and its write to the store is still on its way.
    assert next_mark(Mark(0, 9), Mark(0, 7)) == (Mark(0, 10), False)


def test_h25_a_database_that_knows_less_than_the_store_was_put_back() -> None:
    mark, restored = next_mark(Mark(0, 7), Mark(0, 8))
    assert restored
    assert mark == Mark(1, 9)
    assert mark.epoch_base == STRIDE


def test_h25_the_same_backup_put_back_twice_is_two_restores() -> None:
    backup = Mark(0, 7)
    first, _ = next_mark(backup, Mark(0, 100))
    second, restored = next_mark(backup, first)
    assert restored
    assert second.restores == 2
    assert second.epoch_base > first.epoch_base
    assert not next_mark(second, first)[1]


def test_h25_a_life_that_was_forgotten_is_never_above_the_one_after_it() -> None:
    """The marks of a forgotten life may be far ahead: restores count first."""
    now, _ = next_mark(Mark(0, 7), Mark(0, 1_000_000))
    assert now > Mark(0, 2_000_000)


def test_h25_epochs_lie_above_all_that_a_forgotten_life_gave_out() -> None:
    forgotten = 0
    for _ in range(1000):
        forgotten = fencing.next_epoch(forgotten, 0)
    assert fencing.next_epoch(1, Mark(restores=1).epoch_base) > forgotten
    assert fencing.next_epoch(5, 0) == 6
    assert fencing.next_epoch(STRIDE + 5, STRIDE) == STRIDE + 6


def test_h25_what_the_store_says_is_read_back_and_nonsense_says_nothing() -> None:
    assert Mark.read(Mark(2, 30).written()) == Mark(2, 30)
    for content in (None, b"", b"\xff", b"{}", b"[]", b'{"restores": null, "mark": 1}'):
        assert Mark.read(content) == Mark()
