"""The router's decision: hard limits, the cheapest to finish, the same answer every time."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from gp4u_protocol.job_spec import Budget, CheckpointRule, FailoverRule, JobSpec, Protection, Resources
from gp4u_server.catalyst.routing.decisions import (
    Limit,
    Need,
    counts_by_reason,
    need_of,
    retry_pause,
    saved_whole,
    summary_of_choice,
    weigh,
)
from gp4u_server.catalyst.routing.waiting import Circumstances, hints, summary
from gp4u_server.market.types import OfferState, OfferView
from hypothesis import given
from hypothesis import strategies as st

OFFER = OfferView(
    id="offer_a",
    node_id="node_a",
    node_name="node-a",
    owner_id="user_a",
    owner_name="Ada",
    gpu_model="RTX_4090",
    gpu_name="NVIDIA GeForce RTX 4090",
    vram_gb=24,
    gpus_total=2,
    gpus_free=2,
    price_per_gpu_hour_micros=500_000,
    interruptible_floor_micros=None,
    duration_s_min=60,
    duration_s_max=604_800,
    region="eu-west",
    cpus=16,
    memory_gb=64,
    disk_gb=500,
    runtimes=("sandbox",),
    reliability=0.99,
    hazard_per_hour=0.0005,
    fp16_tflops=82.58,
    fp32_tflops=82.58,
    memory_bandwidth_gb_s=1010,
    perf_per_dollar=165.16,
    simulated=True,
    node_ready=True,
    state=OfferState.LISTED,
    listed_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def summary_of_waiting(need: Need, candidates) -> str:
    return summary(need, hints(need, candidates, Circumstances()))


def spec(
    protection: Protection = Protection.CATALYST, every_s: int = 60, cap: int | None = None, **wanted
) -> JobSpec:
    return JobSpec(
        command="true",
        resources=Resources(**wanted),
        protection=protection,
        checkpoint=CheckpointRule(every_s=every_s),
        budget=Budget(per_hour_micros_max=cap),
    )


def need(job: JobSpec | None = None, **facts) -> Need:
    job = job or spec()
    return need_of(job, models=facts.pop("models", tuple(job.resources.gpu_models)), **facts)


def other(offer_id: str, **changes) -> OfferView:
    return replace(OFFER, id=offer_id, node_id=f"node_{offer_id}", node_name=offer_id, **changes)


@pytest.mark.parametrize(
    ("job", "facts", "offer", "limit"),
    [
        (spec(), {}, {"state": OfferState.PAUSED}, Limit.NOT_LISTED),
        (spec(), {}, {"node_ready": False}, Limit.NODE_OFFLINE),
        (spec(gpu_models=["A100_80GB"]), {}, {}, Limit.GPU_MODEL),
        (spec(vram_gb_min=25), {}, {}, Limit.VRAM),
        (spec(regions=["us-east"]), {}, {}, Limit.REGION),
        (spec(gpus=3), {}, {}, Limit.GPUS_TOTAL),
        (spec(gpus=2), {}, {"gpus_free": 1}, Limit.GPUS_FREE),
        (spec(cap=999_999, gpus=2), {}, {}, Limit.PRICE),
        (spec(), {}, {"duration_s_max": 3600}, Limit.DURATION),
        (spec(), {}, {"runtimes": ("containers",)}, Limit.RUNTIME),
        (
            spec().model_copy(update={"image": f"name@sha256:{'0' * 64}"}),
            {},
            {"runtimes": ("sandbox",)},
            Limit.RUNTIME,
        ),
        (spec(cpus=17), {}, {}, Limit.CPUS),
        (spec(memory_gb=65), {}, {}, Limit.MEMORY),
        (spec(disk_gb=501), {}, {}, Limit.DISK),
    ],
)
def test_each_hard_limit_alone_excludes(job, facts, offer, limit):
    (candidate,) = weigh(need(job, **facts), [replace(OFFER, **offer)])
    assert [failed for failed, _ in candidate.failed] == [limit]
    assert candidate.excluded_because


def test_what_just_fits_fits():
    job = spec(
        gpus=2,
        vram_gb_min=24,
        gpu_models=["RTX_4090"],
        regions=["EU-West"],
        cpus=16,
        memory_gb=64,
        disk_gb=500,
        cap=1_000_000,
    )
    (candidate,) = weigh(need(job), [OFFER])
    assert candidate.fits
    assert candidate.rate_per_hour_micros == 1_000_000


def test_a_faster_card_wins_where_it_is_cheaper_to_finish_on():
    slow = other(
        "slow", gpu_model="RTX_3090", fp16_tflops=35.6, fp32_tflops=35.6, price_per_gpu_hour_micros=300_000
    )
    fast = other("fast", price_per_gpu_hour_micros=600_000)
    assert weigh(need(), [slow, fast])[0].offer is fast
    dear = replace(fast, price_per_gpu_hour_micros=700_000)
    assert weigh(need(), [slow, dear])[0].offer is slow


def test_a_shaky_node_loses_to_a_steady_one_at_the_same_price():
    shaky = other("a-shaky", hazard_per_hour=0.5)
    steady = other("b-steady", hazard_per_hour=0.0005)
    best, second = weigh(need(), [shaky, steady])
    assert best.offer is steady
    assert second.expected_loss_micros > best.expected_loss_micros


def test_without_protection_a_loss_costs_more():
    shaky = other("shaky", hazard_per_hour=0.5)
    (kept,) = weigh(need(spec(Protection.CATALYST)), [shaky])
    (lost,) = weigh(need(spec(Protection.NONE)), [shaky])
    assert lost.expected_loss_micros > 10 * kept.expected_loss_micros


def test_much_data_keeps_a_job_in_its_region():
    far = other("far", region="us-east", price_per_gpu_hour_micros=490_000)
    assert weigh(need(home_region="eu-west"), [OFFER, far])[0].offer is far
    heavy = need(home_region="eu-west", bytes_to_fetch=100 * 10**9)
    assert weigh(heavy, [OFFER, far])[0].offer is OFFER


def test_progress_shortens_what_is_left():
    (whole,) = weigh(need(), [OFFER])
    (half,) = weigh(need(progress={"step": 50, "total_steps": 100}), [OFFER])
    assert half.expected_run_s == pytest.approx(whole.expected_run_s / 2, abs=0.01)
    for odd in ({"step": 500, "total_steps": 100}, {"step": 1, "total_steps": None}, {"step": "x"}, {}):
        (candidate,) = weigh(need(progress=odd), [OFFER])
        assert candidate.expected_run_s >= 60


@given(
    st.permutations(
        [other(f"offer_{n}") for n in range(6)] + [other("dear", price_per_gpu_hour_micros=900_000)]
    )
)
def test_the_order_of_the_offers_decides_nothing(offers):
    assert [candidate.offer.id for candidate in weigh(need(), offers)] == [
        *(f"offer_{n}" for n in range(6)),
        "dear",
    ]


@given(
    st.lists(
        st.builds(
            lambda n, price, hazard, vram, ready: other(
                f"o{n}",
                price_per_gpu_hour_micros=price,
                hazard_per_hour=hazard,
                vram_gb=vram,
                node_ready=ready,
            ),
            st.integers(0, 99),
            st.integers(1_000, 10**9),
            st.floats(0, 100),
            st.integers(1, 288),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_the_first_is_never_dearer_to_finish_than_another_that_fits(offers):
    job = need(spec(vram_gb_min=24))
    candidates = weigh(job, offers)
    fitting = [candidate for candidate in candidates if candidate.fits]
    assert all(candidate.offer.node_ready and candidate.offer.vram_gb >= 24 for candidate in fitting)
    assert candidates[: len(fitting)] == fitting
    if fitting:
        assert fitting[0].expected_cost_micros == min(candidate.expected_cost_micros for candidate in fitting)


def test_waiting_for_a_price_names_the_cheapest_free():
    job = need(spec(vram_gb_min=24, cap=300_000))
    offers = [
        other("node-x", price_per_gpu_hour_micros=420_000),
        other("node-y", price_per_gpu_hour_micros=900_000),
    ]
    assert summary_of_waiting(job, weigh(job, offers)) == (
        "Needs 1 GPU with ≥ 24 GB at ≤ $0.30/h; 4 matching GPUs are free from $0.42/h (node-x, RTX_4090), "
        "your cap is $0.30/h (budget.per_hour)."
    )


@pytest.mark.parametrize(
    ("job", "offers", "sentence"),
    [
        (need(), [], "Needs 1 GPU; no offer is listed at the moment."),
        (
            need(spec(gpus=2)),
            [other("node-x", gpus_free=0)],
            "Needs 2 GPUs; node-x would do as soon as it can be had (all GPUs busy).",
        ),
        (
            need(spec(vram_gb_min=1024)),
            [OFFER, other("b", region="us-east")],
            (
                "Needs 1 GPU with ≥ 1024 GB; none of 2 listed offers has that (2 too little GPU memory); "
                "you ask for 1024 GB of GPU memory, the most that is listed is 24."
            ),
        ),
        (
            need(spec(gpu_models=["h100"], regions=["eu-west"]), models=("H100_SXM",)),
            [OFFER],
            "Needs 1 GPU of h100 in eu-west; none of 1 listed offers has that (1 another GPU model).",
        ),
    ],
)
def test_waiting_says_what_would_free_the_job(job, offers, sentence):
    assert summary_of_waiting(job, weigh(job, offers)) == sentence


def test_the_choice_is_told_and_the_rest_is_counted():
    candidates = weigh(need(spec(vram_gb_min=24)), [OFFER, other("small", vram_gb=8, gpus_free=0)])
    assert summary_of_choice(candidates[0], candidates) == (
        "node-a (RTX_4090, eu-west) at $0.50 per hour: the only one of 2 offers that fits."
    )
    assert counts_by_reason(candidates) == {"vram": 1, "gpus_free": 1}


def test_a_node_that_just_failed_the_job_is_passed_over_while_another_fits():
    cheap, dear = other("cheap", price_per_gpu_hour_micros=100_000), other("dear")
    wanted = need(setbacks=[("node_cheap", 5.0)])
    best, passed_over = weigh(wanted, [cheap, dear])
    assert best.offer is dear
    assert [limit for limit, _ in passed_over.failed] == [Limit.JUST_FAILED]


def test_a_node_that_just_failed_the_job_is_taken_at_once_when_nothing_else_fits():
    busy = other("busy", gpus_free=0)
    candidates = weigh(
        need(setbacks=[("node_a", 5.0), ("node_a", 40.0), ("node_busy", 300.0)]), [OFFER, busy]
    )
    assert candidates[0].offer is OFFER
    assert candidates[0].fits


def test_a_lost_node_is_no_candidate_before_it_is_back_even_when_nothing_else_fits():
    (candidate,) = weigh(need(setbacks=[("node_a", 5.0)]), [replace(OFFER, node_ready=False)])
    assert [limit for limit, _ in candidate.failed] == [Limit.NODE_OFFLINE]


def test_after_losses_on_every_node_the_one_that_failed_longest_ago_is_taken():
    offers = [other(f"n{number}") for number in range(6)]
    setbacks = [(f"node_n{number}", 20.0 * (6 - number)) for number in range(6)]
    assert weigh(need(setbacks=setbacks), offers)[0].offer.id == "n0"


def test_a_setback_costs_less_the_longer_ago_it_was_and_is_forgotten_in_the_end():
    def weight(*ages: float) -> int:
        (candidate,) = weigh(need(setbacks=[("node_a", age) for age in ages]), [OFFER])
        return candidate.setback_micros

    (unburdened,) = weigh(need(), [OFFER])
    run = unburdened.expected_cost_micros - unburdened.expected_loss_micros
    assert weight() == 0
    assert weight(0.0) == pytest.approx(3 * run, rel=0.01)
    assert weight(0.0) > weight(1800.0) > weight(7200.0) > weight(86_400.0) == 0
    assert weight(1800.0, 1800.0) == pytest.approx(weight(0.0), rel=0.01)


def moved(job: JobSpec, **rule) -> Need:
    """The need of a job that ran on node-a in eu-west and looks for a replacement."""
    job = job.model_copy(update={"failover": FailoverRule(**rule)})
    return need(job, home_region="eu-west", home_node_id="node_a", is_replacement=True)


def test_a_replacement_may_have_a_lower_price_cap_than_the_first_placement():
    dear = other("dear", price_per_gpu_hour_micros=600_000)
    wanted = moved(spec(cap=800_000), per_hour_micros_max=550_000)
    assert [candidate.offer.id for candidate in weigh(wanted, [OFFER, dear]) if candidate.fits] == ["offer_a"]
    (candidate,) = weigh(wanted, [dear])
    assert candidate.failed == ((Limit.PRICE, "costs $0.60 per hour, the cap for replacements is $0.55"),)
    assert "at ≤ $0.55/h" in summary_of_waiting(wanted, [candidate])
    assert weigh(replace(wanted, is_replacement=False), [dear])[0].fits
    (budget,) = weigh(moved(spec(cap=500_000), per_hour_micros_max=550_000), [dear])
    assert budget.excluded_because == "costs $0.60 per hour, the cap is $0.50"


def test_a_replacement_may_have_to_stay_in_the_region():
    abroad = other("abroad", region="us-east")
    wanted = moved(spec(), same_region_only=True)
    (candidate,) = weigh(wanted, [abroad])
    assert (
        candidate.excluded_because
        == "us-east is not eu-west, where the job stays (failover.same_region_only)"
    )
    assert "in eu-west" in summary_of_waiting(wanted, [candidate])
    assert weigh(wanted, [OFFER])[0].fits
    assert weigh(replace(wanted, is_replacement=False), [abroad])[0].fits


def test_a_job_whose_policy_is_to_wait_goes_nowhere_but_to_its_own_node():
    wanted = moved(spec(), on_node_loss="wait")
    away = weigh(wanted, [replace(OFFER, node_ready=False), other("free")])
    assert not any(candidate.fits for candidate in away)
    assert summary_of_waiting(wanted, away) == (
        "Needs 1 GPU; it waits for node-a, as its policy says (failover.on_node_loss: wait): the node is not online."
    )
    assert weigh(wanted, [OFFER, other("free")])[0].offer is OFFER
    assert summary_of_waiting(wanted, weigh(wanted, [other("free")])).endswith(
        "that node is not listed any more."
    )


def test_pauses_grow_and_are_bounded():
    assert [retry_pause(attempts).total_seconds() for attempts in (0, 1, 2, 3, 4, 1000)] == [
        1,
        2,
        4,
        8,
        15,
        15,
    ]


# --- jobs that are saved whole ----------------------------------------------------------------------------

WHOLE = replace(OFFER, id="offer_w", node_id="node_w", runtimes=("sandbox", "bundle"))
CHEAP = replace(WHOLE, id="offer_c", node_id="node_c", price_per_gpu_hour_micros=100_000)


def saved_by(source: str, **unrestorable: str) -> Need:
    wanted = JobSpec.model_validate({"command": "x", "checkpoint": {"source": source}})
    return replace(need_of(wanted, models=()), unrestorable=unrestorable)


def test_a_transparent_job_takes_only_nodes_that_save_it_whole():
    first, second = weigh(saved_by("transparent"), [OFFER, WHOLE])
    assert first.offer is WHOLE
    assert [limit for limit, _ in second.failed] == [Limit.RUNTIME]


def test_a_transparent_job_waits_rather_than_lose_its_memory():
    (only,) = weigh(saved_by("transparent", node_w="its kernel is older"), [WHOLE])
    assert [limit for limit, _ in only.failed] == [Limit.DUMP]
    assert "its kernel is older" in only.excluded_because


def test_an_auto_job_goes_where_its_memory_can_and_else_begins_with_its_folder():
    need = saved_by("auto", node_c="its kernel is older")
    first, second = weigh(need, [CHEAP, WHOLE])
    assert first.offer is WHOLE
    assert saved_whole(need, WHOLE)
    assert [limit for limit, _ in second.failed] == [Limit.DUMP]
    (only,) = weigh(need, [CHEAP])
    assert only.fits
    assert not saved_whole(need, CHEAP)


@pytest.mark.parametrize(("source", "offer", "whole"), [
    ("application", WHOLE, False),
    ("auto", WHOLE, True),
    ("auto", OFFER, False),
    ("transparent", WHOLE, True),
])  # fmt: skip
def test_who_is_saved_whole(source: str, offer: OfferView, whole: bool):
    assert saved_whole(saved_by(source), offer) is whole


def test_a_job_with_an_image_is_saved_whole_where_containers_are() -> None:
    """What a node proved of jobs without an image says nothing of it."""
    image = "registry/name@sha256:" + "0" * 64
    runs = replace(OFFER, id="offer_i", node_id="node_i", runtimes=("sandbox", "bundle", "containers"))
    saves = replace(runs, id="offer_s", node_id="node_s", runtimes=("containers", "containers-whole"))
    auto, only = (
        need_of(
            JobSpec.model_validate({"command": "x", "image": image, "checkpoint": {"source": source}}),
            models=(),
        )
        for source in ("auto", "transparent")
    )
    assert [saved_whole(auto, offer) for offer in (runs, saves)] == [False, True]
    first, second = weigh(only, [runs, saves])
    assert (first.offer, first.fits) == (saves, True)
    assert [limit for limit, _ in second.failed] == [Limit.RUNTIME]
    assert not saved_whole(replace(auto, unrestorable={"node_s": "another engine"}), saves)
