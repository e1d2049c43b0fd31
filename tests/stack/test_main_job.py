"""The main job: rent, run, lose the node, finish elsewhere with the same result, billed correctly."""

import json
import re
from pathlib import Path

import pytest
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

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def digits(marketplace: Marketplace, *, epochs: int = 36, pace_ms: int = 15, save_every: int = 1) -> Job:
    return marketplace.client().run(
        f"python train.py --epochs {epochs} --pace-ms {pace_ms} --save-every {save_every}",
        name="digits",
        files=DIGITS,
        vram_gb_min=20,
        checkpoint_path="ckpt",
        checkpoint_every_s=5,
    )


def result(job: Job) -> str:
    found = re.findall(r"weights sha256 (\w{64})", job.log())
    assert found, story(job)
    return str(found[-1])


def told_step(job: Job) -> int:
    """The step that the job's last beat told of."""
    return int((job.refresh().data["progress"] or {}).get("step", 0))


def test_h2_a_killed_node_costs_no_result(marketplace: Marketplace) -> None:
    undisturbed = digits(marketplace)
    job = digits(marketplace)
    wait_for_checkpoints(wait_for_state(job, "running"), 2)
    first_node = job.data["placement"]["node_name"]
    marketplace.demo(f"/nodes/{first_node}/kill")

    wait_for_state(job, "done", within_s=120)
    undisturbed.wait()
    assert result(job) == result(undisturbed)
    assert job.data["placement"]["node_name"] != first_node
    assert job.data["placement"]["epoch"] == 2
    timeline = kinds(job)
    for kind in ("queued", "matched", "running", "checkpoint", "node_lost", "failed_over", "resumed", "done"):
        assert kind in timeline, story(job)
    recovery = job.data["placement"]["recovery_ms"]
    assert set(recovery) >= {"recovery_ms", "detect_ms", "decide_ms", "restore_ms", "start_ms"}
    assert "resumed at step" in job.log(), story(job)


def test_h4_the_bill_of_a_failover_can_be_recomputed(marketplace: Marketplace) -> None:
    renter = marketplace.client()
    # It saves at its middle and at its end: between the two there are seconds in which a loss loses work.
    job = digits(marketplace, epochs=40, save_every=20)
    wait_for_checkpoints(wait_for_state(job, "running"), 1)
    # A beat that tells of steps after the checkpoint was seen: that time is confirmed, and will be lost.
    saved_step = told_step(job)
    eventually(lambda: told_step(job) > saved_step + 30, within_s=30, what="work to lose")
    marketplace.demo(f"/nodes/{job.data['placement']['node_name']}/kill")
    wait_for_state(job, "done", within_s=120)

    bookings = [b for b in renter.api.pages("/bookings", limit=50) if b["job_id"] == job.id]
    assert len(bookings) == 2
    for booking in bookings:
        receipt = eventually(
            lambda booking=booking: (lambda r: r if r["final"] else None)(
                renter.api.get(f"/bookings/{booking['id']}/receipt")
            ),
            within_s=30,
            what="a final receipt",
        )
        billed_us = round(sum(line["seconds"] for line in receipt["lines"] if line["billed"]) * 1e6)
        assert abs(billed_us - receipt["billed_us"]) <= len(receipt["lines"])
        net = receipt["charged_micros"] - receipt["refunded_micros"]
        exact = receipt["rate_per_hour_micros"] * receipt["billed_us"] / 3_600_000_000
        assert abs(net - exact) <= 1
        assert receipt["owner_micros"] + receipt["platform_micros"] == net
        assert abs(receipt["owner_micros"] - net * 0.8) <= 1 or abs(receipt["owner_micros"] - net * 0.85) <= 1
    lost = next(b for b in bookings if b["id"] != job.refresh().data["placement"]["booking_id"])
    lines = renter.api.get(f"/bookings/{lost['id']}/receipt")["lines"]
    assert any(line["why"] == "lost_work" and not line["billed"] for line in lines), lines
    assert renter.wallet()["held_micros"] >= 0


def test_a_short_cut_moves_nothing(marketplace: Marketplace) -> None:
    job = digits(marketplace, epochs=30)
    wait_for_checkpoints(wait_for_state(job, "running"), 1)
    node = job.data["placement"]["node_name"]
    marketplace.demo(f"/nodes/{node}/link", {"mode": "cut"})
    eventually(lambda: "node_suspect" in kinds(job), within_s=60, what="the node is suspect")
    marketplace.demo(f"/nodes/{node}/link", {"mode": "up"})
    wait_for_state(job, "done", within_s=120)
    assert job.data["placements_count"] == 1, story(job)
    assert "node_lost" not in kinds(job)


def test_h2_a_long_cut_moves_the_job_and_the_old_run_counts_for_nothing(marketplace: Marketplace) -> None:
    undisturbed = digits(marketplace)
    job = digits(marketplace)
    wait_for_checkpoints(wait_for_state(job, "running"), 2)
    node = job.data["placement"]["node_name"]
    marketplace.demo(f"/nodes/{node}/link", {"mode": "cut"})
    eventually(lambda: job.refresh().data["placements_count"] == 2, within_s=30, what="a second placement")
    marketplace.demo(f"/nodes/{node}/link", {"mode": "up"})
    wait_for_state(job, "done", within_s=120)
    undisturbed.wait()
    assert result(job) == result(undisturbed)
    assert job.data["placement"]["node_name"] != node
    # The old node came back with an old epoch: whatever it still had is over, and it can be booked again.
    eventually(
        lambda: marketplace.demo_nodes()[node]["job_ids"] == [], within_s=30, what="the old run is gone"
    )


def test_without_protection_the_loss_is_the_end(marketplace: Marketplace) -> None:
    job = marketplace.client().run("while :; do sleep 0.2; done", name="unprotected", protection="none")
    wait_for_state(job, "running")
    marketplace.demo(f"/nodes/{job.data['placement']['node_name']}/kill")
    wait_for_state(job, "failed", within_s=30)
    assert job.data["reason"] == "node_lost"


def test_the_command_runs_follows_and_explains(marketplace: Marketplace) -> None:
    marketplace.gp4u("login", "--email", "renter@gp4u.demo", "--password", "demo-gp4u")
    ran = marketplace.gp4u("run", "--name", "hello", "--json", "--", "echo hello; sleep 1; echo done")
    job = json.loads(ran.stdout)
    assert (job["state"], job["exit_code"]) == ("done", 0)
    assert marketplace.gp4u("logs", "hello").stdout == "hello\ndone\n"
    assert json.loads(marketplace.gp4u("why", "hello", "--json").stdout)[0]["candidates"]
    assert "done" in marketplace.gp4u("show", job["id"]).stdout
    assert job["id"] in [item["id"] for item in json.loads(marketplace.gp4u("ps", "-a", "--json").stdout)]
    searched = json.loads(marketplace.gp4u("search", "vram_gb>=24 sort:price", "--json").stdout)
    assert searched["items"]
    assert all(offer["vram_gb"] >= 24 for offer in searched["items"])
    mistyped = marketplace.gp4u("search", "vram_bg>=24", check=False)
    assert mistyped.returncode == 2
    assert "vram_gb" in mistyped.stderr


def test_the_story_in_the_terminal_ends_with_one_json_object(marketplace: Marketplace) -> None:
    told = json.loads(marketplace.gp4u("demo", "failover", "--epochs", "12", "--json").stdout)
    assert told["result_equals_undisturbed"] is True, told
    assert told["state"] == "done"
    assert told["from_node"] != told["to_node"]
    assert 0 < told["step_restored"] <= told["step_before"]
    assert told["step_restored"] < told["step_after"]
    assert all(told[part] >= 0 for part in ("detect_ms", "decide_ms", "restore_ms", "start_ms")), told
    assert (
        told["recovery_ms"] > told["detect_ms"] - 2_000
    )  # counted from the kill, detection from the last heartbeat
