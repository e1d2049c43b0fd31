"""The TTL follows the link: not at all on a good one, at once on a bad one, slowly back."""

import random
from itertools import pairwise

import pytest
from gp4u_protocol.lease import LEASE_TTL_MAX_S, LEASE_TTL_S, freeze_after_s
from gp4u_server.catalyst.health.link_quality import LinkQuality, TtlBounds, next_ttl, target

BOUNDS = TtlBounds()


def play(
    seconds: float, gap_s: float = 1.0, wait_s: float = 1.0, missed: int = 0, *, start_s: float = LEASE_TTL_S
) -> tuple[float, LinkQuality, float]:
    """(TTL, quality, now) after a steady link of that kind."""
    quality, ttl_s, now = LinkQuality(1.0, 0.0), start_s, 0.0
    while now < seconds:
        now += gap_s
        quality.beat(now, gap_s=gap_s, wait_s=wait_s, missed=missed)
        if changed := next_ttl(quality, ttl_s, now, BOUNDS):
            ttl_s = changed.ttl_s
    return ttl_s, quality, now


@pytest.mark.parametrize("wait_s", [1.0, 1.4, 2.0, 2.5])
def test_a_good_link_keeps_the_shortest_ttl(wait_s: float) -> None:
    ttl_s, quality, _ = play(300, wait_s=wait_s)
    assert ttl_s == LEASE_TTL_S
    assert target(quality, BOUNDS) == (LEASE_TTL_S, None)


def test_one_lost_heartbeat_in_a_while_changes_nothing() -> None:
    quality, now = LinkQuality(1.0, 0.0), 0.0
    for number in range(1000):
        missed = int(number % 100 == 50)
        now += 1.0 + missed
        quality.beat(now, gap_s=1.0 + missed, wait_s=1.0 + missed, missed=missed)
        assert next_ttl(quality, LEASE_TTL_S, now, BOUNDS) is None


@pytest.mark.parametrize(("wait_s", "ttl_s"), [(2.6, 6.0), (3.0, 6.0), (4.2, 9.0), (7.0, 14.0), (14.0, 15.0)])
def test_it_grows_at_the_first_beat_that_shows_the_need(wait_s: float, ttl_s: float) -> None:
    quality = LinkQuality(1.0, 0.0)
    quality.beat(wait_s, gap_s=1.0, wait_s=wait_s)
    changed = next_ttl(quality, LEASE_TTL_S, wait_s, BOUNDS)
    assert changed is not None
    assert changed.ttl_s == ttl_s
    assert changed.why == f"proofs of its leases were up to {wait_s:.1f} s old"


@pytest.mark.parametrize("loss", [0.1, 0.2, 0.3])
def test_a_link_that_loses_heartbeats_is_given_time_for_a_row_of_them(loss: float) -> None:
    chance, quality, now, seq = random.Random(7), LinkQuality(1.0, 0.0), 0.0, 0
    for _ in range(600):
        missed = 0
        while chance.random() < loss:
            missed += 1
        now, seq = now + missed + 1, seq + missed + 1
        quality.beat(now, gap_s=missed + 1, wait_s=missed + 1, missed=missed)
    ttl_s, why = target(quality, BOUNDS)
    assert quality.loss == pytest.approx(loss, rel=0.5)
    assert ttl_s > LEASE_TTL_S
    assert why is not None
    # As many heartbeats as fit into the lease are all lost hardly ever.
    assert loss ** (freeze_after_s(ttl_s) - 1) < 2e-3


def test_it_shrinks_a_second_at_a_time_and_ends_at_the_shortest() -> None:
    quality, ttl_s, now = LinkQuality(1.0, 0.0), LEASE_TTL_S, 0.0
    quality.beat(0.0, gap_s=7.5, wait_s=7.5)
    changes = []
    while now < 1200:
        if changed := next_ttl(quality, ttl_s, now, BOUNDS):
            changes.append((now, changed.ttl_s))
            ttl_s = changed.ttl_s
        now += 1.0
        quality.beat(now, gap_s=1.0, wait_s=1.0)
    assert changes[0] == (0.0, LEASE_TTL_MAX_S)
    assert [ttl for _, ttl in changes] == [15.0, 14.0, 13.0, 12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0]
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(changes)]
    assert min(pauses) >= BOUNDS.shrink_every_s


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_link_does_the_ttl_stays_within_its_bounds(seed: int) -> None:
    chance, quality, ttl_s, now = random.Random(seed), LinkQuality(1.0, 0.0), LEASE_TTL_S, 0.0
    for _ in range(500):
        gap_s = chance.choice((0.0, 1.0, 40.0)) * chance.random()
        now += gap_s
        quality.beat(
            now, gap_s=gap_s, wait_s=gap_s * chance.random() * 3, missed=chance.choice((0, 0, 3, 64))
        )
        if changed := next_ttl(quality, ttl_s, now, BOUNDS):
            assert changed.ttl_s > ttl_s or ttl_s - changed.ttl_s <= 1.0
            ttl_s = changed.ttl_s
        assert LEASE_TTL_S <= ttl_s <= LEASE_TTL_MAX_S


def test_equal_bounds_adapt_nothing() -> None:
    quality = LinkQuality(1.0, 0.0)
    quality.beat(9.0, gap_s=9.0, wait_s=9.0, missed=8)
    assert next_ttl(quality, 5.0, 9.0, TtlBounds(5.0, 5.0)) is None
    assert next_ttl(quality, 20.0, 9.0, TtlBounds(20.0, 15.0)) is None
