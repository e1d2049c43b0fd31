"""H19: collection never takes what a checkpoint needs. H25: a database that comes back from a backup runs no job twice."""

import json
from collections.abc import Iterator

import pytest

from tests.rig.renter import ENDLESS
from tests.rig.scenarios.conftest import judged, plain_marketplace
from tests.rig.world import World

OLDER = "interval '3 days'"
LEASES_OVER_S = 20


def let_days_pass(rig: World, job_id: str) -> None:
    """Grace periods last a day: rows of a job that has ended are made older instead. Its objects stay as they are."""
    with rig.cluster.connect() as connection:
        for table, columns in {
            "open_uploads": ("opened_at", "finished_at", "closed_at"),
            "packs": ("announced_at", "stored_at", "marked_at"),
            "store_deletions": ("decided_at", "due_at"),
        }.items():
            ages = ", ".join(f"{column} = {column} - {OLDER}" for column in columns)
            connection.execute(f"UPDATE {table} SET {ages} WHERE job_id = %s", [job_id])


def objects(rig: World) -> int:
    """How many objects lie in the store."""
    return sum(path.is_file() for path in rig.cluster.data.objects.rglob("*"))


def test_h19_collection_under_kills_takes_nothing_that_a_checkpoint_needs(rig: World) -> None:
    keep = {"every_s": 3600, "keep": {"last": 1, "hourly": 0}}
    job = rig.renter.submit(steps=30, on="b1", save_every=3, state_bytes=1 << 20, ballast=1, checkpoint=keep)
    # It saves without end, and is stopped when nothing is left to be collected beside it.
    beside = rig.renter.submit(
        steps=ENDLESS, on="c1", save_every=3, state_bytes=1 << 20, ballast=1, checkpoint=keep
    )
    rig.wait_for_save(job)
    rig.fault("power_lost", "b1")
    rig.nodes["b1"].lose_power()
    rig.nodes["b1"].start()
    rig.wait_for_ends(job)
    before = objects(rig)
    for _ in range(4):
        let_days_pass(rig, job.id)
        rig.fault("killed", "controller@a")
        rig.cluster.service("controller@a").kill()
        told = json.loads(rig.cluster.gp4u("admin", "collect", "--json").stdout)
        rig.history.write("note", what="collected", **told)
        rig.cluster.service("controller@a").start()
        rig.wait_for_save(beside)
    rig.end()
    assert objects(rig) < before + len(rig.said(beside, "acknowledged")) * 2, "something was collected"
    collected = [record for record in rig.history.snapshot() if record.get("what") == "collected"]
    assert sum(record["packs_due"] + record["objects_deleted"] for record in collected) > 0, collected


@pytest.fixture
def restored(request: pytest.FixtureRequest, lab_reason: str | None) -> Iterator[World]:
    """A marketplace of its own: its epochs lie above all earlier ones for ever after."""
    with plain_marketplace(request, lab_reason) as world:
        yield from judged(world, request)


def test_h25_a_database_restored_from_a_backup_runs_no_job_twice(restored: World) -> None:
    """The drill that docs/design/rig.md describes: stop the platform, put the backup back, wait until no lease can be alive,
    start. Agents must claim anew; what ran under epochs that the database has forgotten is ended."""
    rig = restored
    job = rig.renter.submit(steps=ENDLESS, on="b1", pace_s=0.3)
    rig.wait_for_save(job)
    backup_at = rig.cluster.back_up()
    rig.history.write("note", what="backup", backup_at=backup_at)
    rig.wait_for_save(job)
    rig.fault("power_lost", "b1")
    rig.nodes["b1"].lose_power()
    rig.wait_for_run(job, 2)
    rig.wait_for_save(job, epoch=2)
    ours = ["beat", "worker", "controller@a", "gateway@a", "api@a"]
    for name in ours:
        rig.fault("stopped", name)
        rig.cluster.service(name).stop()
    rig.cluster.restore_backup()
    rig.fault("database_restored", "postgres", backup_at=backup_at)
    rig.for_seconds(LEASES_OVER_S)
    for name in reversed(ours):
        rig.cluster.service(name).start()
    rig.nodes["b1"].start()
    runs = len(rig.said(job, "began"))
    rig.wait(
        lambda: len(rig.said(job, "began")) > runs, within_s=150, what=f"it runs again; {rig.story(job)}"
    )
    rig.wait_for_save(job)
    node = rig.node_of(job)
    rig.fault("power_lost", node.name)
    node.lose_power()
    node.start()
    rig.wait(
        lambda: len(rig.said(job, "began")) > runs + 1, within_s=150, what=f"and again; {rig.story(job)}"
    )
    rig.wait_for_save(job)
    epochs = [word["epoch"] for word in rig.said(job, "began")]
    assert epochs[-1] > 1_000_000 > epochs[0], "what was given out after the restore lies above all before"
    rig.end()
