"""H28, H27: the disk is full, a server is away for a minute. Running jobs go on, people are told to come again, all catches up."""

import httpx2

from tests.rig.world import World

AWAY_S = 60
DISK_BYTES, PAGE_BYTES = 8 << 30, 4096


def asked(rig: World, counts: dict[int, int]) -> None:
    """One request of a stranger and one of the renter: whatever is away, a 5xx says when to come again."""
    with rig.renter.at_work(), httpx2.Client(base_url=rig.cluster.url, timeout=30) as http:
        token = rig.renter.api.credentials.access_token
        for path, headers in (
            ("/api/v1/offers", {}),
            ("/api/v1/jobs", {"Authorization": f"Bearer {token}"}),
        ):
            response = http.get(path, headers=headers)
            counts[response.status_code] = counts.get(response.status_code, 0) + 1
            if response.status_code >= 500:
                assert response.headers.get("Retry-After"), f"{path}: {response.status_code} {response.text}"


def busy(rig: World, why: str) -> None:
    for name in ("b1", "c1"):
        job = rig.renter.submit(steps=100, on=name, pace_s=0.5, save_every=20)
        rig.history.write("note", what="must_not_move", job=job.id, why=why)
    for job in rig.renter.jobs:
        rig.wait_for_steps(job, 2)


def test_h28_valkey_workers_and_the_store_are_away_for_a_minute(rig: World) -> None:
    busy(rig, "cache, workers and store were away")
    counts: dict[int, int] = {}
    for name in ("valkey", "worker", "beat"):
        rig.fault("killed", name)
        rig.cluster.service(name).kill()
    objects = rig.cluster.data.objects
    rig.fault("away", "object store")
    objects.rename(objects.with_name("objects.away"))
    objects.write_text("not a folder")
    steps_before = {job.id: len(rig.said(job, "step")) for job in rig.renter.jobs}
    for _ in range(AWAY_S // 5):
        asked(rig, counts)
        rig.for_seconds(5)
    steps = {job.id: len(rig.said(job, "step")) for job in rig.renter.jobs}
    objects.unlink()
    objects.with_name("objects.away").rename(objects)
    for name in ("valkey", "worker", "beat"):
        rig.cluster.service(name).start()
    for job in rig.renter.jobs:
        assert not rig.said(job, "damaged")
        assert steps[job.id] > steps_before[job.id], "jobs run on"
    rig.history.write("note", what="answers", counts=counts)
    rig.wait_for_ends()


def test_h28_postgresql_is_away_for_a_minute(rig: World) -> None:
    """Without the truth no lease can be held for long: jobs freeze in place, nobody is moved, and all goes on."""
    busy(rig, "the database was away")
    counts: dict[int, int] = {}
    rig.fault("killed", "postgres")
    rig.cluster.service("postgres").kill()
    for _ in range(AWAY_S // 10):
        asked(rig, counts)
        rig.for_seconds(5)
    rig.cluster.service("postgres").start()
    rig.history.write("note", what="answers", counts=counts)
    rig.wait_for_ends()


def test_h27_h28_a_machine_with_a_full_disk_stops_no_other_job(rig: World) -> None:
    """Its disk shrinks to what lies on it: every write there fails, until it grows again."""
    node = rig.add_node("c4", "c", disk_bytes=DISK_BYTES)
    try:
        node.wait_until_online()
        poor = rig.renter.submit(steps=40, on="c4", pace_s=0.3, save_every=4)
        rig.history.write("note", what="may_fail", job=poor.id, why="its machine's disk is full")
        rig.wait_for_save(poor)
        rig.fault("disk_full", "c4")
        node.resize_disk(DISK_BYTES - node.free_bytes() + PAGE_BYTES)
        others = [rig.renter.submit(steps=10, on=name) for name in ("b1", "b2", "c1")]
        rig.wait_for_ends(*others)
        assert {job.state for job in others} == {"done"}
        rig.fault("disk_freed", "c4")
        node.resize_disk(DISK_BYTES)
        rig.wait_for_ends()
    finally:
        rig.retire(node)
