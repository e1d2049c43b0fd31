"""A hot job loses its node and goes on at the one that stood by, without a download."""

import re

import httpx2
import pytest
from gp4u.sdk import Job

from tests.stack.marketplace import Marketplace, eventually, kinds, story, wait_for_state

pytestmark = pytest.mark.stack

# A ballast that would take a while to fetch, and a count that goes on.
WORK = (
    'cd "$GP4U_CHECKPOINT_DIR"; [ -f ballast ] || { head -c 33554432 /dev/urandom > b.tmp; mv b.tmp ballast; }; '
    "n=$(cat n 2>/dev/null || echo 0); sha256sum ballast; "
    'while [ "$n" -lt 30000 ]; do n=$((n+1)); echo "$n" > n.tmp; mv n.tmp n; echo "count $n"; sleep 0.1; done'
)


def reads_of_the_store(marketplace: Marketplace) -> float:
    """Objects that anybody was answered since the api began: its counter of GETs of signed addresses."""
    token = marketplace.client("admin").api.credentials.access_token
    said = httpx2.get(f"{marketplace.url}/metrics", headers={"Authorization": f"Bearer {token}"}).text
    pattern = r'gp4u_http_requests_total\{method="GET",route="([^"]*\{key:path\})",status="\d+"\} (\S+)'
    return sum(float(count) for _, count in re.findall(pattern, said))


def test_no_pack_is_downloaded_after_the_loss(marketplace: Marketplace) -> None:
    renter = marketplace.client()
    spec = {
        "name": "hot",
        "command": WORK,
        "protection": "hot",
        "checkpoint": {"every_s": 2},
        "resources": {
            "regions": ["eu-north"]
        },  # two nodes: after the loss of one there is no third to stand by
    }
    job = wait_for_state(Job(renter.api, renter.api.post("/jobs", spec)), "running")

    def is_ready() -> bool:
        job.refresh()
        return bool(job.standby and job.standby["state"] == "ready" and job.standby["checkpoint_seq"] >= 2)

    try:
        eventually(is_ready, within_s=90, what="the standby is ready")
    except AssertionError as error:
        raise AssertionError(f"{error}: {job.standby}\n{story(job)}") from error
    assert job.standby is not None
    home, second = job.data["placement"]["node_name"], job.standby["node_name"]
    assert reads_of_the_store(marketplace) > 0, "the counter counts what the standby fetched"
    marketplace.demo(f"/nodes/{home}/kill")

    def what_was_fetched() -> float | None:
        # What was committed before the loss may still be on its way to the standby: counted once the loss is known.
        return reads_of_the_store(marketplace) if "node_lost" in kinds(job) else None

    before = eventually(what_was_fetched, within_s=60, what="the loss is noticed")
    eventually(
        lambda: job.refresh().data["placements_count"] == 2 and job.state == "running",
        within_s=60,
        what=f"it goes on\n{story(job)}",
    )
    assert job.data["placement"]["node_name"] == second
    assert reads_of_the_store(marketplace) == before, "nothing was downloaded after the loss"
    eventually(lambda: job.log().count("  ballast") == 2, within_s=30, what=f"its output\n{story(job)}")
    job.stop()
    wait_for_state(job, "stopped", within_s=60)
    sums = re.findall(r"^(\w{64})  ballast$", job.log(), re.MULTILINE)
    assert len(sums) == 2, story(job)
    assert sums[0] == sums[1], "it read back what it had saved"
    assert any("stood by" in (e["detail"].get("decision") or {}).get("summary", "") for e in job.timeline())
    bookings = renter.api.get("/bookings", job_id=job.id)["items"]
    receipts = [renter.api.get(f"/bookings/{booking['id']}/receipt") for booking in bookings]
    bills = [bill for receipt in receipts for bill in receipt["standbys"]]
    assert [bill["node_name"] for bill in bills] == [second], bills
