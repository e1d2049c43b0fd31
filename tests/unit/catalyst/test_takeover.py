"""H23: whose loss is held back when a gateway dies, and for how long."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from gp4u_server.catalyst.health.takeover import HOLD_S_MAX, QUIET_S, STILL_S, Departures

START = datetime(2026, 1, 1, tzinfo=UTC)
DEAD, LIVING = "dead", "living"
ENDED_S = 16.0


def freed_after(
    left: Callable[[float], int],
    *,
    living: Callable[[float], bool] = lambda now: True,
    away: Callable[[float], bool] = lambda now: False,
    until: float = 2 * HOLD_S_MAX,
) -> float | None:
    """When the dead gateway's nodes may be lost, looked at once a second from its death on. It ends after `ENDED_S`."""
    watch, now, stamp = Departures(), 0.0, START
    watch.standing_still({DEAD: START, LIVING: START}, -1.0)
    while now <= until:
        if not away(now):
            stamp += timedelta(seconds=1) if living(now) else timedelta()
            rows = {LIVING: stamp} | ({} if now >= ENDED_S else {DEAD: START})
            watched = watch.standing_still(rows, now) | ({DEAD} if now >= ENDED_S else set())
            ended = {DEAD} if now >= ENDED_S else set()
            verdict = watch.observe({DEAD: left(now)} if DEAD in watched else {}, ended, now)
            if verdict.free:
                assert now >= ENDED_S
                return now
        now += 1.0
    return None


def test_h23_a_fleet_in_a_queue_is_held_back_until_the_last_is_in() -> None:
    assert freed_after(lambda now: max(0, 10_000 - int(60 * now))) is None, "nobody is left to lose"


def test_h23_who_does_not_leave_is_lost_when_the_queue_is_empty() -> None:
    """Twenty of ten thousand died with the gateway."""
    freed = freed_after(lambda now: max(20, 10_000 - int(60 * now)))
    last_left = 9_980 / 60
    assert freed is not None
    assert last_left <= freed - QUIET_S <= last_left + 2


def test_h23_a_lone_dead_node_behind_a_dead_gateway_waits_for_nobody() -> None:
    assert freed_after(lambda now: 1) == ENDED_S
    assert freed_after(lambda now: 2) == ENDED_S
    assert freed_after(lambda now: 1 if now > 5 else 500) == ENDED_S, "the others were quick"


def test_h23_a_whole_site_that_died_waits_for_nobody() -> None:
    assert freed_after(lambda now: 1_000) == ENDED_S


def test_h23_the_last_two_of_a_queue_are_not_lost_at_the_door() -> None:
    assert freed_after(lambda now: max(0, 100 - int(4 * now))) is None


def test_h23_holding_back_has_an_end() -> None:
    freed = freed_after(lambda now: 100_000 - int(now))
    assert freed is not None
    assert HOLD_S_MAX <= freed <= HOLD_S_MAX + STILL_S + 1


def test_h23_nobody_is_lost_while_there_is_no_gateway_to_go_to() -> None:
    """All gateways are away for eight minutes; whoever is back within `QUIET_S` of their return is not lost."""
    back = 480.0
    for nodes in (1, 50):
        freed = freed_after(lambda now, nodes=nodes: nodes, living=lambda now: now < 1 or now >= back)
        assert freed is not None
        assert back + QUIET_S - 1 <= freed <= back + QUIET_S + 1


def test_h23_while_the_database_is_away_nobody_can_leave() -> None:
    freed = freed_after(
        lambda now: 5_000 - int(60 * now) if now < 100 else 50, away=lambda now: 50 <= now < 100
    )
    assert freed is not None
    assert freed >= 100 + QUIET_S
    quiet = freed_after(lambda now: 50 if now >= 15 else 51, away=lambda now: 17 <= now < 60)
    assert quiet is not None
    assert quiet >= 60, "two seconds of quiet before, none while it was away"


def test_h23_a_controller_that_sees_it_for_the_first_time_looks_for_a_while() -> None:
    """Another controller ended the gateway and died."""
    for nodes, patience_s in ((3, QUIET_S), (2, 0.0)):
        watch, now, stamp = Departures(), 0.0, START
        watch.standing_still({LIVING: START}, -1.0)
        while True:
            stamp += timedelta(seconds=1)
            watch.standing_still({LIVING: stamp}, now)
            if watch.observe({DEAD: nodes}, {DEAD}, now).free:
                break
            now += 1.0
        assert now == patience_s


def test_h23_holding_back_is_told_once() -> None:
    watch, told, stamp = Departures(), 0, START
    for now in range(9):
        stamp += timedelta(seconds=1)
        watch.standing_still({LIVING: stamp}, float(now))
        told += len(watch.observe({DEAD: 9 - now}, {DEAD}, float(now)).held)
    assert told == 1
