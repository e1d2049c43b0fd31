"""Which interruptible runs make room for an on-demand job, and what a waiting job is told. Pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from gp4u_protocol.job_spec import BookingKind, Budget, JobSpec, Resources
from gp4u_server.catalyst.jobs.notice import LiveRun, NoticeReason
from gp4u_server.catalyst.routing.decisions import Limit, Need, need_of, weigh
from gp4u_server.catalyst.routing.room import Room, room_for
from gp4u_server.catalyst.routing.waiting import Circumstances, hints
from gp4u_server.market.types import OfferView
from gp4u_server.nodes.types import Duty, Liveness, NodeStatus, NodeView

from tests.unit.catalyst.test_notice import run
from tests.unit.routing.test_decisions import OFFER, other

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def need(*, gpus: int = 1, kind: str = "on_demand", cap: int | None = None, **facts) -> Need:
    spec = JobSpec(
        command="true", kind=kind, resources=Resources(gpus=gpus), budget=Budget(per_hour_micros_max=cap)
    )
    return need_of(spec, models=(), **facts)


def cheap(job_id: str, *uuids: str, **changes) -> LiveRun:
    values = {
        "kind": BookingKind.INTERRUPTIBLE,
        "device_uuids": uuids,
        "rate_per_hour_micros": 200_000 * len(uuids),
        **changes,
    }
    return run(job_id, **values)


def room(wanted: Need, offers: list[OfferView], runs: list[LiveRun], **free: list[str]) -> Room | None:
    by_node: dict[str, list[LiveRun]] = {}
    for each in runs:
        by_node.setdefault(each.node_id, []).append(each)
    return room_for(wanted, weigh(wanted, offers), by_node, free)


FULL = replace(OFFER, gpus_free=0)


def test_the_youngest_run_that_suffices_leaves():
    old = cheap("job_old", "GPU-0", created_at=NOW - timedelta(hours=5))
    young = cheap("job_young", "GPU-1")
    made = room(need(), [FULL], [old, young])
    assert made is not None
    assert (made.leaving, made.device_uuids) == (("job_young",), ("GPU-1",))


def test_free_gpus_of_the_node_count_and_only_as_many_are_kept_as_are_needed():
    made = room(need(gpus=2), [replace(OFFER, gpus_free=1)], [cheap("job_a", "GPU-1")], node_a=["GPU-0"])
    assert made is not None
    assert made.device_uuids == ("GPU-0", "GPU-1")
    one = room(need(), [FULL], [cheap("job_a", "GPU-0", "GPU-1")])
    assert one is not None
    assert one.device_uuids == ("GPU-0",)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": BookingKind.ON_DEMAND},
        {"notice_reason": NoticeReason.DRAIN},
        {"is_stopping": True},
        {"rate_per_hour_micros": 500_001},
    ],
)
def test_who_pays_more_is_on_demand_or_leaves_anyway_is_not_asked(changes):
    assert room(need(), [FULL], [cheap("job_a", "GPU-0", **changes)]) is None


def test_an_interruptible_job_displaces_nobody_and_neither_does_one_that_is_too_poor():
    runs = [cheap("job_a", "GPU-0")]
    full = replace(FULL, interruptible_floor_micros=200_000)
    assert room(need(kind="interruptible"), [full], runs) is None
    assert room(need(cap=499_999), [full], runs) is None
    assert room(need(), [full], runs) is not None


def test_where_the_fewest_have_to_go():
    offers = [
        replace(FULL, price_per_gpu_hour_micros=400_000),
        other("b", gpus_free=0),
    ]
    runs = [
        cheap("job_1", "GPU-0"),
        cheap("job_2", "GPU-1"),
        cheap("job_3", "GPU-2", "GPU-3", node_id="node_b"),
    ]
    made = room(need(gpus=2), offers, runs)
    assert made is not None
    assert made.leaving == ("job_3",)


def test_interruptible_bookings_cost_the_floor_and_only_where_there_is_one():
    wanted = need(kind="interruptible", gpus=2)
    (fits,) = weigh(wanted, [replace(OFFER, interruptible_floor_micros=200_000)])
    assert (fits.fits, fits.rate_per_hour_micros) == (True, 400_000)
    (refused,) = weigh(wanted, [OFFER])
    assert [limit for limit, _ in refused.failed] == [Limit.KIND]


def test_the_replacement_pool_is_first_for_who_lost_his_node_and_nothing_for_others():
    offers = [other("market", price_per_gpu_hour_micros=100_000), other("pool", in_pool=True)]
    moved = need(home_region="eu-west", is_replacement=True)
    assert weigh(moved, offers)[0].offer.id == "pool"
    assert weigh(need(), offers)[0].offer.id == "market"
    (pool,) = weigh(need(), [offers[1]])
    assert [limit for limit, _ in pool.failed] == [Limit.POOL]
    interruptible = need(kind="interruptible", home_region="eu-west", is_replacement=True)
    (kept,) = weigh(interruptible, [replace(offers[1], interruptible_floor_micros=1_000)])
    assert [limit for limit, _ in kept.failed] == [Limit.POOL]


def test_nothing_is_taken_that_would_run_into_a_maintenance_window():
    planned = replace(OFFER, window_starts_at=NOW + timedelta(hours=2))
    assert weigh(need(ends_by=NOW + timedelta(hours=2)), [planned])[0].fits
    (late,) = weigh(need(ends_by=NOW + timedelta(hours=2, seconds=1)), [planned])
    assert [limit for limit, _ in late.failed] == [Limit.WINDOW]


# --- what would free it ------------------------------------------------------------------------------------


def node(**changes) -> NodeView:
    values = {
        "id": "node_a",
        "name": "node-a",
        "owner_id": "user_a",
        "region": "eu-west",
        "status": NodeStatus.VERIFIED,
        "liveness": Liveness.ONLINE,
        "simulated": True,
        "cpus": 16,
        "memory_gb": 64,
        "disk_gb": 500,
        "cpu_model": "EPYC",
        "runtimes": {},
        "devices": (),
        "losses": 0,
        "online_s": 0.0,
        "running_jobs": 0,
        "last_seen_at": None,
        "enrolled_at": NOW,
        **changes,
    }
    return NodeView(**values)


def told(wanted: Need, offer: OfferView, **known) -> list[tuple[str, str, datetime | None]]:
    found = hints(wanted, weigh(wanted, [offer]), Circumstances(**known))
    return [(hint.kind, hint.sentence, hint.at) for hint in found]


def test_each_reason_to_wait_says_what_would_end_it():
    later = NOW + timedelta(hours=3)
    assert told(need(cap=400_000), OFFER) == [
        (
            "price",
            "2 matching GPUs are free at $0.50/h (node-a, RTX_4090), your cap is $0.40/h (budget.per_hour)",
            None,
        )
    ]
    assert told(need(), FULL, runs={"node_a": [run(ends_by=later), run("job_b", ends_by=NOW)]}) == [
        ("busy", "node-a is busy: the first of its 2 jobs ends by 2026-01-01 00:00 UTC at the latest", NOW)
    ]
    away = replace(OFFER, node_ready=False)
    maintained = node(duty=Duty.MAINTENANCE, maintenance_until=later)
    assert told(need(), away, nodes={"node_a": maintained}) == [
        ("node", "node-a is in maintenance until 2026-01-01 03:00 UTC", later)
    ]
    quarantined = node(duty=Duty.QUARANTINED, quarantined_until=later)
    assert told(need(), away, nodes={"node_a": quarantined})[0][2] == later
    assert told(need(), away, nodes={"node_a": node(liveness=Liveness.LOST)}) == [
        ("node", "node-a is lost, and would do when it is back", None)
    ]
    planned = replace(OFFER, window_starts_at=later)
    ((kind, sentence, at),) = told(need(ends_by=later + timedelta(hours=1)), planned)
    assert (kind, at) == ("window", later)
    assert "maintenance begins 2026-01-01 03:00 UTC" in sentence
    assert told(need(), replace(OFFER, in_pool=True))[0][0] == "pool"
    assert told(need(kind="interruptible"), OFFER)[0][1] == (
        "node-a is free, but its owner takes no interruptible bookings"
    )
    assert [kind for kind, _, _ in told(need(gpus=8), OFFER)] == ["nobody", "resources"]
