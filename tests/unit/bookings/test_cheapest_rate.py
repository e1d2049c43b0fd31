"""The rate that a wallet is measured against before a job is taken."""

from datetime import UTC, datetime
from typing import Any

import pytest
from gp4u_protocol.job_spec import JobSpec
from gp4u_server.bookings.decisions import cheapest_rate
from gp4u_server.market.types import OfferState, OfferView


def offer(**changes: Any) -> OfferView:
    values: dict[str, Any] = {
        "id": "off_1",
        "node_id": "node_1",
        "node_name": "atlas",
        "owner_id": "usr_1",
        "owner_name": "Otto",
        "gpu_model": "RTX_4090",
        "gpu_name": "NVIDIA GeForce RTX 4090",
        "vram_gb": 24,
        "gpus_total": 4,
        "gpus_free": 4,
        "price_per_gpu_hour_micros": 500_000,
        "interruptible_floor_micros": None,
        "duration_s_min": 60,
        "duration_s_max": 604_800,
        "region": "eu-west",
        "cpus": 32,
        "memory_gb": 128,
        "disk_gb": 500,
        "runtimes": ("sandbox",),
        "reliability": 0.99,
        "hazard_per_hour": 0.001,
        "fp16_tflops": 80.0,
        "fp32_tflops": 80.0,
        "memory_bandwidth_gb_s": 1000.0,
        "perf_per_dollar": 160.0,
        "simulated": True,
        "node_ready": True,
        "state": OfferState.LISTED,
        "listed_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return OfferView(**{**values, **changes})


def spec(**resources: Any) -> JobSpec:
    return JobSpec.model_validate({"command": "true", "resources": resources})


def test_the_cheapest_that_fits_counts_for_all_its_gpus() -> None:
    offers = [
        offer(price_per_gpu_hour_micros=700_000),
        offer(),
        offer(price_per_gpu_hour_micros=100_000, gpus_free=1),
    ]
    assert cheapest_rate(offers, spec(gpus=2), []) == 1_000_000


@pytest.mark.parametrize(
    ("changes", "resources"),
    [
        ({"gpus_free": 0}, {}),
        ({"state": OfferState.PAUSED}, {}),
        ({"node_ready": False}, {}),
        ({}, {"gpus": 5}),
        ({}, {"vram_gb_min": 25}),
        ({}, {"gpu_models": ["A100_80GB"]}),
        ({}, {"regions": ["us-east"]}),
        ({}, {"cpus": 33}),
        ({}, {"memory_gb": 129}),
    ],
)
def test_offers_that_do_not_fit_do_not_count(changes: dict[str, Any], resources: dict[str, Any]) -> None:
    wanted = spec(**resources)
    assert cheapest_rate([offer(**changes)], wanted, wanted.resources.gpu_models) is None


def test_offers_above_the_jobs_ceiling_do_not_count() -> None:
    capped = JobSpec.model_validate({"command": "true", "budget": {"per_hour_micros_max": 499_999}})
    assert cheapest_rate([offer()], capped, []) is None
    assert cheapest_rate([], spec(), []) is None
