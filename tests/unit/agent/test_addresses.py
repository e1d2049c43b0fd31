"""Which address an agent tries next: spread at first, never back to a dead one while another may live, never in a storm."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from gp4u_agent.addresses import (
    ADDRESSES_MAX,
    DEAD_S,
    OPEN_HURRIED_S,
    OPEN_S,
    PAUSE_FIRST_S,
    PAUSE_MAX_S,
    Addresses,
)
from gp4u_protocol.lease import LEASE_TTL_S, freeze_after_s

THREE = [f"ws://gateway-{number}.example:8001/agent/v1/connect" for number in (1, 2, 3)]


def of(urls: list[str], seed: int = 1, told: list[str] | None = None, *, pinned: bool = False) -> Addresses:
    return Addresses(urls, told or (), pinned=pinned, chance=random.Random(seed))


def dial(addresses: Addresses, lives: Callable[[str], bool], now: float, attempts: int = 50) -> list[str]:
    """What is tried, in order, until one serves; each failure takes as long as it may."""
    tried = []
    for _ in range(attempts):
        attempt = addresses.next(now)
        now += attempt.pause_s
        tried.append(attempt.url)
        if lives(attempt.url):
            addresses.reached(attempt.url)
            return tried
        now += attempt.open_timeout_s
        addresses.failed(attempt.url, now)
    return tried


def test_the_first_try_is_at_once_and_hurried_only_where_another_is_left() -> None:
    first = of(THREE).next(0)
    assert (first.pause_s, first.open_timeout_s) == (0, OPEN_HURRIED_S)
    alone = of(THREE[:1]).next(0)
    assert (alone.pause_s, alone.open_timeout_s) == (0, OPEN_S)


def test_nodes_spread_over_the_gateways_and_again_over_those_that_are_left() -> None:
    nodes = [of(THREE, seed) for seed in range(3_000)]
    firsts = [node.next(0).url for node in nodes]
    assert all(900 < count < 1_100 for count in Counter(firsts).values())
    assert len(set(firsts)) == 3
    dead = THREE[0]
    orphans = [node for node, url in zip(nodes, firsts, strict=True) if url == dead]
    for node in orphans:
        node.reached(dead)
        node.failed(dead, 100)
    seconds = Counter(node.next(100.1).url for node in orphans)
    assert set(seconds) == set(THREE[1:])
    assert min(seconds.values()) > 0.4 * len(orphans)


@pytest.mark.parametrize("seed", range(20))
def test_a_dead_gateway_is_not_returned_to_while_another_may_live(seed: int) -> None:
    node = of(THREE, seed)
    held = dial(node, lambda _: True, 0)[-1]
    node.failed(held, 10)
    tried = dial(node, lambda url: url != held, 10)
    assert held not in tried
    second = tried[-1]
    node.failed(second, 11)
    third = ({*THREE} - {held, second}).pop()
    assert dial(node, lambda url: url == third, 11) == [third]


@pytest.mark.parametrize("seed", range(20))
def test_when_all_failed_each_has_its_turn_the_longest_dead_one_first(seed: int) -> None:
    tried = dial(of(THREE, seed), lambda _: False, 0, attempts=12)
    assert {*tried[:3]} == {*THREE}
    assert tried[3:6] == tried[:3]
    assert tried[6:9] == tried[:3]


@pytest.mark.parametrize("seed", range(50))
def test_one_that_swallows_packets_leaves_the_lease_time_for_the_next(seed: int) -> None:
    """A gateway stands still, and the second address, too: the third is dialled before the job freezes.

    The link counts as broken 2.5 beats after the first unanswered one, which follows the last answered one by one beat.
    """
    node = of(THREE, seed)
    held = dial(node, lambda _: True, 0)[-1]
    broken_s = 3.5
    node.failed(held, broken_s)
    attempt = node.next(broken_s)
    assert broken_s + attempt.pause_s < freeze_after_s(LEASE_TTL_S)
    node.failed(attempt.url, broken_s + attempt.pause_s + attempt.open_timeout_s)
    again = node.next(broken_s + attempt.pause_s + attempt.open_timeout_s)
    # Even then it is found before the loss could be declared by anybody (16 s: docs/design/leases.md).
    assert again.url not in (held, attempt.url)
    assert broken_s + attempt.pause_s + attempt.open_timeout_s + again.pause_s < LEASE_TTL_S


def test_the_last_one_that_did_not_fail_is_given_time() -> None:
    node = of(THREE)
    for url in THREE[:2]:
        node.failed(url, 5)
    last = node.next(5)
    assert last.url == THREE[2]
    assert last.open_timeout_s == OPEN_S


def test_a_dead_gateway_is_as_good_as_any_after_a_while() -> None:
    node = of(THREE, 7)
    preferred = node.next(0).url
    node.failed(preferred, 0)
    assert node.next(DEAD_S - 0.1).url != preferred
    assert node.next(DEAD_S).url == preferred


def test_what_serves_again_is_not_dead() -> None:
    node = of(THREE[:2], 3)
    first = node.next(0).url
    node.failed(first, 0)
    other = node.next(0).url
    node.failed(other, 0.5)
    node.reached(first)
    assert node.next(1).url == first


@pytest.mark.parametrize("known", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_pauses_grow_to_a_limit_and_every_address_has_one(known: int, seed: int) -> None:
    node = of(THREE[:known], seed)
    pauses = []
    for _ in range(60):
        attempt = node.next(0)
        pauses.append(attempt.pause_s)
        node.failed(attempt.url, 0)
    assert all(pause <= PAUSE_FIRST_S for pause in pauses[: known + 1])
    assert max(pauses) <= PAUSE_MAX_S / known
    assert max(pauses[-30:]) > PAUSE_MAX_S / known / 2
    assert len({*pauses}) > 50, "a thousand nodes would come back in one instant"


def test_pauses_begin_anew_after_a_session() -> None:
    node = of(THREE)
    for _ in range(30):
        node.failed(node.next(0).url, 0)
    node.reached(THREE[0])
    node.failed(THREE[0], 100)
    assert node.next(100).pause_s <= PAUSE_FIRST_S


def test_what_the_marketplace_tells_replaces_what_it_told_and_keeps_what_a_person_named() -> None:
    node = of(THREE[:1], told=[THREE[1]])
    assert {*node.urls} == {*THREE[:2]}
    assert node.told([THREE[2]])
    assert {*node.urls} == {THREE[0], THREE[2]}
    assert node.learned == [THREE[2]]
    assert not node.told([THREE[2]]), "nothing new to remember"
    assert not node.told([])
    assert {*node.urls} == {THREE[0], THREE[2]}


def test_the_address_that_serves_stays_known_though_nobody_names_it() -> None:
    node = of([], told=[THREE[0]])
    node.reached(THREE[0])
    assert node.told(["ws://nowhere.example/agent/v1/connect"])
    assert THREE[0] in node.urls
    assert THREE[0] in node.learned


def test_what_is_known_of_an_address_outlives_a_new_list() -> None:
    node = of([], told=THREE)
    for url in THREE[:2]:
        node.failed(url, 50)
    node.told([*reversed(THREE), "ws://gateway-4.example/x"])
    assert node.next(51).url in (THREE[2], "ws://gateway-4.example/x")


def test_an_encrypted_link_never_learns_of_an_unencrypted_one() -> None:
    safe = "wss://gp4u.example/agent/v1/connect"
    node = of([], told=[safe])
    node.reached(safe)
    assert not node.told(THREE)
    assert node.urls == [safe]
    assert node.told([*THREE, "wss://other.example/agent/v1/connect"])
    assert {*node.urls} == {safe, "wss://other.example/agent/v1/connect"}
    by_hand = of(THREE[:1], told=[safe])
    by_hand.reached(safe)
    assert by_hand.next(0).url in {safe, THREE[0]}, "a person may"


def test_pinned_addresses_learn_nothing() -> None:
    node = of(THREE[:1], pinned=True)
    assert not node.told(THREE)
    assert node.urls == THREE[:1]


@pytest.mark.parametrize(
    "nonsense",
    ["", "  ", "gateway", "ftp://gateway/x", "ws://", "ws://[::1/x", "ws://gateway:port/x", "ws://gateway:99999/x",
     "ws://gateway/" + "x" * 600],
)  # fmt: skip
def test_what_is_no_address_is_never_dialled(nonsense: str) -> None:
    node = of([nonsense, THREE[0]])
    assert node.urls == THREE[:1]
    assert not node.told([nonsense])
    with pytest.raises(ValueError, match="no address"):
        of([nonsense])


def test_one_address_written_twice_is_one_and_a_flood_is_cut() -> None:
    assert of([THREE[0], THREE[0] + "/", f" {THREE[0]} "]).urls == [THREE[0]]
    node = of([], told=THREE)
    node.told([f"ws://gateway-{number}.example/x" for number in range(1_000)])
    assert len(node.urls) == ADDRESSES_MAX
