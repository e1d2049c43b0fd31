"""What is kept and what may go: the pure decisions."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from gp4u_server.catalyst.checkpoints.retention import (
    KeepRule,
    PackFacts,
    Point,
    UploadFacts,
    expired,
    is_open,
    judge_packs,
    to_close,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GRACE = timedelta(hours=24)


def point(number: int, *, minutes: float | None = None, held: bool = False, damaged: bool = False) -> Point:
    at = NOON + MINUTE * (number if minutes is None else minutes)
    return Point(f"ckpt_{number}", 1, number, at, held, damaged)


def gone(points: list[Point], rule: KeepRule, **more: object) -> set[str]:
    facts: dict[str, object] = {"restoring": False, "nothing_kept_after": None, **more}
    return set(expired(points, rule, NOON + GRACE, **facts))  # type: ignore[arg-type]


def test_the_newest_ones_stay() -> None:
    points = [point(number) for number in range(1, 9)]
    random.Random(1).shuffle(points)
    assert gone(points, KeepRule(3, 0)) == {f"ckpt_{number}" for number in range(1, 6)}
    assert gone(points, KeepRule(8, 0)) == set()


def test_the_newest_of_each_hour_stays() -> None:
    points = [point(number, minutes=20 * number) for number in range(12)]  # 12:00 to 15:40, three an hour
    kept = {each.id for each in points} - gone(points, KeepRule(1, 3))
    assert kept == {"ckpt_11", "ckpt_8", "ckpt_5"}


def test_hours_without_a_checkpoint_do_not_count_and_time_alone_takes_nothing() -> None:
    points = [point(1), point(2, minutes=60 * 24 * 100)]
    assert gone(points, KeepRule(1, 2)) == set()


def test_h20_the_newest_always_stays_whatever_is_damaged() -> None:
    chance = random.Random(20)
    for _ in range(2_000):
        count = chance.randint(1, 12)
        points = [
            Point(
                f"ckpt_{number}",
                epoch=1 + number // 4,
                seq=number,
                committed_at=NOON + MINUTE * chance.randint(-300, 300),  # the clock may have been set
                held=chance.random() < 0.1,
                damaged=chance.random() < 0.5,
            )
            for number in range(count)
        ]
        rule = KeepRule(chance.randint(1, 4), chance.randint(0, 3))
        going = gone(chance.sample(points, count), rule)
        kept = [each for each in points if each.id not in going]
        assert kept[-1:] == points[-1:]
        assert not any(each.held for each in points if each.id in going)
        sound_kept = [each for each in kept if not each.damaged]
        sound = [each for each in points if not each.damaged]
        assert sound_kept[-rule.last :] == sound[-rule.last :], "a damaged one takes nobody's place"


def test_nothing_goes_while_a_node_restores() -> None:
    points = [point(number) for number in range(1, 9)]
    assert gone(points, KeepRule(1, 0), restoring=True) == set()


def test_a_job_that_ended_long_ago_keeps_what_is_held() -> None:
    points = [point(1, held=True), point(2), point(3)]
    assert gone(points, KeepRule(5, 5), nothing_kept_after=NOON + GRACE) == {"ckpt_2", "ckpt_3"}
    assert gone(points, KeepRule(5, 5), nothing_kept_after=NOON + GRACE + MINUTE) == set()


@pytest.mark.parametrize("numbers", [(0, 0), (1, -1)])
def test_a_rule_that_keeps_nothing_is_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(ValueError):
        KeepRule(*numbers)


def upload(seq: int, *, epoch: int = 1, opened_at: datetime = NOON) -> UploadFacts:
    return UploadFacts(f"up_{seq}", epoch, seq, opened_at)


def test_h19_an_upload_is_open_while_its_epoch_runs_and_nothing_newer_began() -> None:
    assert is_open(upload(3), running_epoch=1, newest_seq=3)
    assert not is_open(upload(3), running_epoch=2, newest_seq=3)
    assert not is_open(upload(3), running_epoch=None, newest_seq=3)
    assert not is_open(upload(3), running_epoch=1, newest_seq=4)


def test_h19_an_open_upload_is_never_closed_however_slow_it_is() -> None:
    uploads = [upload(1), upload(2)]
    facts = {"running_epoch": 1, "newest_seq": 2}
    assert to_close(uploads, NOON + 100 * GRACE, GRACE, **facts) == ["up_1"]  # type: ignore[arg-type]
    assert to_close(uploads, NOON + GRACE - MINUTE, GRACE, **facts) == []  # type: ignore[arg-type]


def test_h19_a_pack_goes_after_two_marks_a_grace_period_apart() -> None:
    verdict = judge_packs([PackFacts("p", "up_1", None)], set(), [], NOON, GRACE)
    assert (verdict.mark, verdict.take) == (["p"], [])
    marked = [PackFacts("p", "up_1", NOON)]
    early = judge_packs(marked, set(), [], NOON + GRACE - MINUTE, GRACE)
    assert (early.mark, early.take) == ([], [])
    assert judge_packs(marked, set(), [], NOON + GRACE, GRACE).take == ["p"]


def test_h19_what_an_unfinished_upload_announced_is_spared() -> None:
    packs = [PackFacts("new", "up_1", None), PackFacts("marked", "up_1", NOON)]
    verdict = judge_packs(packs, {"up_1"}, [], NOON + 10 * GRACE, GRACE)
    assert (verdict.mark, verdict.take) == ([], [])


def test_h19_an_open_upload_that_may_know_a_pack_is_waited_for() -> None:
    """It began while the pack was still named: its manifest may name it again."""
    marked = [PackFacts("p", "up_1", NOON)]
    before, after = upload(2, opened_at=NOON - MINUTE), upload(3, opened_at=NOON + MINUTE)
    now = NOON + 10 * GRACE
    assert judge_packs(marked, {"up_2"}, [before], now, GRACE).take == []
    assert judge_packs(marked, {"up_3"}, [after], now, GRACE).take == ["p"]
    assert judge_packs(marked, {"up_2", "up_3"}, [before, after], now, GRACE).take == []
