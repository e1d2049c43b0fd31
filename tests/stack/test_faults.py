"""Faults of jobs, nodes and of the platform itself: each ends in a clear state and message."""

import os
import signal

import pytest
from gp4u.api import ApiError
from gp4u.sdk import Job

from tests.stack.marketplace import (
    Marketplace,
    eventually,
    kinds,
    story,
    wait_for_checkpoints,
    wait_for_state,
)

pytestmark = pytest.mark.stack

# Counts in a file that it renames into place, asking for a checkpoint every second.
COUNTER = (
    'n=$(cat "$GP4U_CHECKPOINT_DIR/n" 2>/dev/null || echo 0); '
    'while [ "$n" -lt {steps} ]; do n=$((n+1)); echo "$n" > "$GP4U_CHECKPOINT_DIR/n.tmp"; '
    'mv "$GP4U_CHECKPOINT_DIR/n.tmp" "$GP4U_CHECKPOINT_DIR/n"; echo "count $n"; sleep 0.2; done'
)


def counter(marketplace: Marketplace, steps: int = 100) -> Job:
    return marketplace.client().run(COUNTER.format(steps=steps), name="counter", checkpoint_every_s=1)


def test_a_command_that_exits_1_has_failed_and_does_not_move(marketplace: Marketplace) -> None:
    job = marketplace.client().run("echo oops >&2; exit 1", name="exit-one").wait()
    assert (job.state, job.data["exit_code"], job.data["placements_count"]) == ("failed", 1, 1), story(job)
    assert "oops" in job.log()
    assert "node_lost" not in kinds(job)


def test_a_job_that_fills_memory_is_ended_with_the_reason(marketplace: Marketplace) -> None:
    job = marketplace.client().run(
        'python -c "b = bytearray()\nwhile True: b += bytes(1 << 24)"', name="memory-hog"
    )
    wait_for_state(job, "failed", within_s=90)
    assert job.data["reason"] == "out_of_memory", story(job)
    assert "memory" in job.data["detail"]


def test_a_job_that_fills_the_disk_is_ended_with_the_reason(marketplace: Marketplace) -> None:
    renter = marketplace.client()
    spec = {
        "name": "disk-hog",
        "command": "i=0; while :; do head -c 67108864 /dev/zero > f$i || exit 7; i=$((i+1)); sleep 0.05; done",
        "resources": {"disk_gb": 1},
    }
    job = Job(renter.api, renter.api.post("/jobs", spec))
    wait_for_state(job, "failed", within_s=120)
    assert job.data["reason"] == "disk_full", story(job)


def test_h17_a_job_killed_during_a_checkpoint_resumes_from_a_whole_one(marketplace: Marketplace) -> None:
    job = marketplace.client().run(
        "python train.py --epochs 20 --pace-ms 15 --ballast-mib 48",
        files=os.path.join(os.path.dirname(__file__), "..", "..", "examples", "digits"),
        name="heavy",
        checkpoint_path="ckpt",
        checkpoint_every_s=1,
    )
    wait_for_checkpoints(wait_for_state(job, "running"), 1)
    marketplace.demo(f"/nodes/{job.data['placement']['node_name']}/kill")
    wait_for_state(job, "done", within_s=150)
    assert "resumed at step" in job.log(), story(job)


def test_an_impossible_job_waits_unbilled_and_says_what_would_fit(marketplace: Marketplace) -> None:
    job = marketplace.client().run("true", name="too-big", gpus=16, vram_gb_min=200)
    try:
        assert job.refresh().state == "queued"
        waiting = [event for event in job.timeline() if event["kind"] == "waiting"]
        assert waiting, story(job)
        assert job.data["charged_micros"] == 0
    finally:
        job.stop()
    wait_for_state(job, "stopped")


def test_an_unknown_model_is_refused_with_a_suggestion(marketplace: Marketplace) -> None:
    with pytest.raises(ApiError) as caught:
        marketplace.client().run("true", gpu_models=["RTX_4091"])
    assert caught.value.status == 422
    assert "RTX_4090" in str(caught.value.document)


def test_h12_an_empty_wallet_is_refused_and_nothing_is_left_behind(marketplace: Marketplace) -> None:
    from gp4u.api import ApiClient  # noqa: PLC0415
    from gp4u.config import Credentials  # noqa: PLC0415

    with ApiClient(Credentials(url=marketplace.url)) as api:
        body = {"email": f"poor-{os.getpid()}@example.com", "password": "a long password 7"}
        api.post("/auth/register", body)
        tokens = api.post("/auth/token", body)
        api.credentials = Credentials(marketplace.url, body["email"], tokens["access_token"], None)
        with pytest.raises(ApiError) as caught:
            api.post("/jobs", {"command": "true"})
        assert (caught.value.status, caught.value.code) == (402, "insufficient_funds")
        assert api.get("/jobs")["items"] == []


@pytest.mark.parametrize("process", ["gateway", "controller", "api", "worker"])
def test_h16_a_killed_process_of_ours_costs_no_job(marketplace: Marketplace, process: str) -> None:
    job = wait_for_checkpoints(wait_for_state(counter(marketplace, 45), "running"), 1)
    old = marketplace.kill(process)
    marketplace.wait_until_restarted(process, old)
    wait_for_state(job, "done", within_s=90)
    assert job.data["placements_count"] == 1, story(job)
    assert "count 45" in job.log()


def test_h16_a_restart_of_postgresql_costs_no_job(marketplace: Marketplace) -> None:
    job = wait_for_checkpoints(wait_for_state(counter(marketplace, 80), "running"), 1)
    pid = marketplace.processes()["postgres"]
    os.kill(pid, signal.SIGINT)  # fast shutdown, as a restart does it
    marketplace.wait_until_restarted("postgres", pid)
    wait_for_state(job, "done", within_s=120)
    assert job.data["placements_count"] == 1, story(job)


def test_h28_valkey_may_be_lost_at_any_time(marketplace: Marketplace) -> None:
    job = wait_for_checkpoints(wait_for_state(counter(marketplace, 45), "running"), 1)
    old = marketplace.kill("valkey")
    marketplace.wait_until_restarted("valkey", old)
    wait_for_state(job, "done", within_s=90)
    assert job.data["placements_count"] == 1, story(job)
    assert marketplace.client().search("")


def test_stopping_takes_a_final_checkpoint(marketplace: Marketplace) -> None:
    job = wait_for_state(counter(marketplace, 10_000), "running")
    eventually(lambda: "count 5" in job.log(), within_s=30, what="some progress")
    job.stop()
    wait_for_state(job, "stopped", within_s=60)
    checkpoints = list(marketplace.client().api.pages(f"/jobs/{job.id}/checkpoints"))
    assert checkpoints[0]["trigger"] == "final", checkpoints
