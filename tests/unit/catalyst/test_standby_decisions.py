"""Which node stands by, what it costs, and when it counts as ready."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from gp4u_protocol.messages import RestorePoint
from gp4u_server.catalyst.standby.decisions import (
    BEHIND_S_MAX,
    PREPARED_S_MAX,
    Chosen,
    Finding,
    Look,
    choose,
    judge,
    none_retry,
    standby_rate_micros,
)
from gp4u_server.catalyst.standby.types import EndReason

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Weighed:
    """A candidate as the router weighs it; only what standbys look at."""

    offer: Any
    rate_per_hour_micros: int
    expected_cost_micros: int
    fits: bool = True


def candidate(
    node: str, cost: int, *, owner: str = "", region: str = "eu", free: int = 1, **more: Any
) -> Weighed:
    offer = SimpleNamespace(
        id=f"offer_{node}", node_id=node, owner_id=owner or f"of_{node}", region=region, gpus_free=free
    )
    return Weighed(offer, more.pop("rate", 1_000_000), cost, **more)


def chosen(candidates: list[Weighed], **more: Any) -> str:
    wanted = {
        "gpus": 1,
        "home_node_id": "home",
        "home_rate_micros": 1_000_000,
        "rate_bps": 500,
        "per_hour_micros_max": None,
        "spoken_for": {},
        **more,
    }
    found = choose(candidates, **wanted)
    return found.scored.offer.node_id if isinstance(found, Chosen) else found.why


HOME = candidate("home", 1, region="eu", owner="olaf", free=3)


def test_the_cheapest_move_stands_by_but_never_the_jobs_own_node() -> None:
    assert chosen([HOME, candidate("a", 20), candidate("b", 10)]) == "b"


def test_another_owner_and_another_region_are_preferred_within_reason() -> None:
    same_owner, other_owner = candidate("a", 10, owner="olaf", region="us"), candidate("b", 14, region="us")
    assert chosen([HOME, same_owner, other_owner]) == "b"
    assert chosen([HOME, same_owner, replace(other_owner, expected_cost_micros=16)]) == "a"
    near, far = candidate("a", 100), candidate("b", 119, region="us")
    assert chosen([HOME, near, far]) == "b"
    assert chosen([HOME, near, replace(far, expected_cost_micros=121)]) == "a"


def test_a_free_gpu_is_promised_once() -> None:
    one, two = candidate("a", 10), candidate("b", 20, free=2)
    assert chosen([HOME, one, two], spoken_for={"a": 1}) == "b"
    assert chosen([HOME, one, two], spoken_for={"a": 1, "b": 1}) == "b"
    assert "for another job" in chosen([HOME, one, two], spoken_for={"a": 1, "b": 2})
    assert "for another job" in chosen([HOME, two], gpus=2, spoken_for={"b": 1})


def test_a_node_that_did_not_get_ready_for_this_job_is_not_chosen_again() -> None:
    assert chosen([HOME, candidate("a", 10), candidate("b", 20)], unprepared={"a"}) == "b"
    assert "No second node" in chosen([HOME, candidate("a", 10)], unprepared={"a"})


def test_nothing_else_fits() -> None:
    assert "No second node" in chosen([HOME])
    assert "No second node" in chosen([HOME, candidate("a", 1, fits=False)])


def test_the_budget_per_hour_holds_for_the_job_and_its_standby_together() -> None:
    dear, fair = candidate("a", 1, rate=4_000_000), candidate("b", 2, rate=1_000_000)
    assert chosen([HOME, dear, fair], per_hour_micros_max=1_100_000) == "b"
    assert chosen([HOME, dear, fair], per_hour_micros_max=1_050_000) == "b"
    assert "$1.049999 per hour" in chosen([HOME, dear, fair], per_hour_micros_max=1_049_999)


@pytest.mark.parametrize(
    ("rate", "bps", "expected"),
    [(1_000_000, 500, 50_000), (999, 500, 49), (1, 1, 1), (400_000, 10_000, 400_000)],
)
def test_the_rate_is_a_share_rounded_down_and_never_nothing(rate: int, bps: int, expected: int) -> None:
    assert standby_rate_micros(rate, bps) == expected


def point(seq: int, epoch: int = 1) -> RestorePoint:
    return RestorePoint(checkpoint_id=f"ckp_{seq}", epoch=epoch, seq=seq)


READY = Look(
    offer_stands=True,
    node_wavers=False,
    gpus_free=1,
    gpus=1,
    prepared=True,
    held=point(4),
    newest=point(4),
    behind_since=None,
    chosen_at=NOW - timedelta(hours=1),
    was_ready=True,
    was_ever_ready=True,
)
BEHIND = replace(READY, held=point(3), behind_since=NOW - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (READY, Finding.READY),
        (replace(READY, was_ready=False), Finding.READY),
        (replace(READY, prepared=False), Finding.NOT_READY),
        (replace(READY, held=None), Finding.NOT_READY),
        (replace(READY, newest=None, held=None), Finding.NOT_READY),
        # A checkpoint was just committed: it is fetching that one, and holds nearly all of it.
        (BEHIND, Finding.READY),
        (replace(BEHIND, was_ready=False), Finding.NOT_READY),
        (replace(BEHIND, behind_since=NOW - timedelta(seconds=BEHIND_S_MAX + 1)), Finding.NOT_READY),
        (
            replace(READY, held=point(9, epoch=1), newest=point(1, epoch=2), was_ready=False),
            Finding.NOT_READY,
        ),
        # Beats are missing: nothing is proven, and nothing is given up yet.
        (replace(READY, offer_stands=False, node_wavers=True), Finding.NOT_READY),
    ],
)
def test_ready_is_what_could_take_over_now(look: Look, expected: Finding) -> None:
    assert judge(look, NOW) == (expected, None)


@pytest.mark.parametrize(
    ("look", "reason"),
    [
        (replace(READY, offer_stands=False), EndReason.NODE_GONE),
        (replace(READY, gpus_free=0), EndReason.GPUS_TAKEN),
        (replace(READY, gpus=2), EndReason.GPUS_TAKEN),
        (replace(READY, prepared=False, was_ready=False, was_ever_ready=False), EndReason.NOT_PREPARED),
    ],
)
def test_what_cannot_take_over_is_left(look: Look, reason: EndReason) -> None:
    assert judge(look, NOW) == (Finding.LEAVE, reason)


def test_a_job_without_a_checkpoint_has_nothing_to_prepare_and_gives_no_node_up() -> None:
    young = replace(READY, newest=None, held=None, was_ready=False, was_ever_ready=False)
    assert judge(young, NOW) == (Finding.NOT_READY, None)
    late = replace(young, newest=point(1), chosen_at=NOW - timedelta(seconds=PREPARED_S_MAX - 1))
    assert judge(late, NOW) == (Finding.NOT_READY, None)


def test_looking_for_a_node_gets_more_patient() -> None:
    assert [none_retry(failures).total_seconds() for failures in range(7)] == [0, 5, 15, 30, 60, 60, 60]
