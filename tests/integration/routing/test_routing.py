"""Placing jobs for real: search, decide, book, place, and say why."""

import asyncio
import json

from gp4u_protocol.transparent import TransparentFacts
from gp4u_server.catalyst.routing.service import Router
from sqlalchemy import text


async def test_a_job_goes_to_the_cheapest_to_finish_and_the_reasons_are_kept(marketplace):
    slow = await marketplace.offer(name="slow", model="RTX_3090", price=300_000)
    fast = await marketplace.offer(name="fast", model="RTX_4090", price=500_000)
    small = await marketplace.offer(name="small", model="RTX_3090", price=200_000, region="us-east")
    job = await marketplace.submit(resources={"regions": ["eu-west"]})
    assert job["placement"]["node_id"] == fast["node_id"]
    (decision,) = await marketplace.decisions(job["id"])
    assert decision["summary"].startswith("fast (RTX_4090, eu-west) at $0.50 per hour")
    assert decision["candidates_count"] == 3
    assert decision["failed_counts"] == {"region": 1}
    by_id = {candidate["offer_id"]: candidate for candidate in decision["candidates"]}
    assert [candidate["chosen"] for candidate in decision["candidates"]] == [True, False, False]
    assert by_id[fast["id"]]["expected_cost_micros"] < by_id[slow["id"]]["expected_cost_micros"]
    assert "us-east" in by_id[small["id"]]["excluded_because"]
    assert (await marketplace.ok("GET", "/offers"))["total"] == 2


async def test_another_renter_sees_no_decision(marketplace):
    await marketplace.offer()
    job = await marketplace.submit()
    answer = await marketplace.call("GET", f"/jobs/{job['id']}/decisions", marketplace.owner)
    missing = await marketplace.call("GET", "/jobs/job_none/decisions", marketplace.owner)
    assert answer.status_code == missing.status_code == 404
    assert answer.json()["code"] == missing.json()["code"]


async def test_a_job_for_which_nothing_is_free_waits_and_says_what_would_fit(marketplace):
    await marketplace.offer(name="node-x", price=420_000)
    job = await marketplace.submit(resources={"vram_gb_min": 24}, budget={"per_hour_micros_max": 300_000})
    assert (job["state"], job["placement"]) == ("queued", None)
    assert job["detail"] == (
        "Needs 1 GPU with ≥ 24 GB at ≤ $0.30/h; 1 matching GPU is free at $0.42/h (node-x, RTX_4090), "
        "your cap is $0.30/h (budget.per_hour)."
    )
    assert job["waiting"]["summary"] == job["detail"]
    (hint,) = job["waiting"]["hints"]
    assert (hint["kind"], hint["at"]) == ("price", None)
    (decision,) = await marketplace.decisions(job["id"])
    assert decision["summary"] == job["detail"]
    assert not any(candidate["chosen"] for candidate in decision["candidates"])


async def test_waiting_for_the_same_reason_is_one_decision_and_a_free_node_ends_it(marketplace):
    job = await marketplace.submit(resources={"gpu_models": ["4090"]})
    router = marketplace.platform.get(Router)
    for _ in range(3):
        async with marketplace.database.transaction() as session:
            result = await router.place(session, job["id"])
        assert not result.placed
        assert result.retry_at is not None
    assert len(await marketplace.decisions(job["id"])) == 1
    offer = await marketplace.offer(model="RTX_4090")
    async with marketplace.database.transaction() as session:
        result = await router.place(session, job["id"])
    assert (result.placed, result.offer_id, result.epoch) == (True, offer["id"], 1)
    async with marketplace.database.transaction() as session:
        assert not (await router.place(session, job["id"])).placed, "placed once is placed"
    assert len(await marketplace.decisions(job["id"])) == 2


async def test_an_impossible_job_waits_and_says_that_nothing_has_it(marketplace):
    await marketplace.offer()
    job = await marketplace.submit(resources={"gpus": 16, "vram_gb_min": 1024})
    assert job["detail"].startswith("Needs 16 GPUs with ≥ 1024 GB; none of 1 listed offers has that")


async def test_an_unknown_model_is_refused_with_a_suggestion_and_leaves_no_job(marketplace):
    answer = await marketplace.call(
        "POST",
        "/jobs",
        marketplace.renter,
        json={"command": "true", "resources": {"gpu_models": ["RTX_4900"]}},
    )
    assert answer.status_code == 422
    assert answer.json()["code"] == "unknown_gpu_model"
    assert answer.json()["suggestion"] == "RTX_4090"
    assert (await marketplace.ok("GET", "/jobs", marketplace.renter))["items"] == []


async def test_a_lost_node_is_no_candidate(marketplace):
    lost = await marketplace.offer(price=100_000)
    await marketplace.lose(lost["node_id"])
    kept = await marketplace.offer(price=900_000)
    job = await marketplace.submit()
    assert job["placement"]["node_id"] == kept["node_id"]


async def test_a_chosen_offer_that_cannot_run_the_job_is_refused_and_one_that_is_taken_is_409(marketplace):
    offer = await marketplace.offer()
    body = {"offer_id": offer["id"], "job": {"command": "true", "resources": {"gpus": 4}}}
    answer = await marketplace.call("POST", "/bookings", marketplace.renter, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "requirements_not_met")
    assert "needs 4 GPUs, has 1" in answer.json()["detail"]
    body["job"] = {"command": "true"}
    assert (await marketplace.call("POST", "/bookings", marketplace.renter, json=body)).status_code == 201
    answer = await marketplace.call("POST", "/bookings", marketplace.renter, json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "offer_taken")
    jobs = (await marketplace.ok("GET", "/jobs", marketplace.renter))["items"]
    assert len(jobs) == 1, "a refused booking leaves no job"


async def test_h1_jobs_submitted_at_once_share_the_gpus_without_overlap(marketplace):
    await asyncio.gather(*(marketplace.offer(gpus=2) for _ in range(2)))
    jobs = await asyncio.gather(*(marketplace.submit(name=f"job-{number}") for number in range(8)))
    placed = [job for job in jobs if job["placement"]]
    waiting = [job for job in jobs if not job["placement"]]
    assert len(placed) == 4
    assert all(job["state"] == "queued" and job["detail"] for job in waiting)
    async with marketplace.database.transaction() as session:
        held = (
            await session.execute(
                text("SELECT count(*), count(DISTINCT id) FROM devices WHERE taken_as IS NOT NULL")
            )
        ).one()
        uuids = (
            await session.execute(text("SELECT unnest(device_uuids) FROM placements WHERE state <> 'ended'"))
        ).all()
    assert tuple(held) == (4, 4)
    assert len(set(uuids)) == len(uuids) == 4


NEW = TransparentFacts(by="criu", machine="x86_64", kernel="6.18", criu="4.2", system="abc")
OLD = NEW.model_copy(update={"kernel": "6.1"})


async def test_a_job_that_is_saved_whole_goes_where_its_dump_can_be_restored(marketplace):
    """And is told at its submission what it will get."""
    await marketplace.offer(name="plain", price=50_000)
    job = await marketplace.submit(checkpoint={"source": "transparent"})
    assert (job["placement"], job["promise"]["saved"]) == (None, "whole")
    async with marketplace.database.transaction() as session:
        for statement in (
            (
                "INSERT INTO open_uploads (id, job_id, placement_id, epoch, seq, finished_at)"
                " VALUES ('up_1', :job, 'plc_0', 1, 1, now())"
            ),
            (
                "INSERT INTO checkpoints (id, job_id, epoch, seq, upload_id, placement_id, node_id, node_name, manifest_key,"
                " manifest_blake3, manifest_bytes, files, size_bytes, stored_bytes, trigger, transparent)"
                " VALUES ('ckpt_1', :job, 1, 1, 'up_1', 'plc_0', 'n', 'n', 'k', 'b', 1, 1, 1, 1, 'interval', :dump)"
            ),
            "UPDATE jobs SET checkpoint_id = 'ckpt_1', checkpoint_epoch = 1, checkpoint_seq = 1 WHERE id = :job",
        ):
            dump = json.dumps({"made_by": NEW.model_dump(mode="json"), "signed_by": ""})
            values = {"job": job["id"], "dump": dump}
            await session.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})
    await marketplace.offer(name="old", price=100_000, transparent=OLD)
    new = await marketplace.offer(name="new", price=900_000, transparent=NEW)
    async with marketplace.database.transaction() as session:
        result = await marketplace.platform.get(Router).place(session, job["id"])
    assert result.offer_id == new["id"]
    async with marketplace.database.transaction() as session:
        assert await session.scalar(text("SELECT transparent FROM placements"))
    by_name = {each["node_name"]: each for each in (await marketplace.decisions(job["id"]))[0]["candidates"]}
    assert "its kernel 6.1 is older than 6.18" in by_name["old"]["excluded_because"]


async def test_an_auto_job_is_promised_what_its_node_can(marketplace):
    whole = await marketplace.offer(name="whole", price=100_000, transparent=NEW)
    job = await marketplace.submit(checkpoint={"source": "auto"})
    assert (job["placement"]["node_id"], job["promise"]["saved"]) == (whole["node_id"], "whole")
    await marketplace.offer(name="plain", price=900_000)
    job = await marketplace.submit(checkpoint={"source": "auto"})
    assert job["promise"]["saved"] == "folder"
    assert job["promise"]["why_not_more"]
