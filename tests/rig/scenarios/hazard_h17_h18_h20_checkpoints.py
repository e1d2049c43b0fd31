"""H17, H18, H20: no half checkpoint is visible, changed bytes are noticed, and a job never resumes behind what was saved."""

import random

from tests.rig.renter import ENDLESS
from tests.rig.world import World


def test_h17_h20_power_is_lost_at_random_instants_of_uploads_again_and_again(rig: World) -> None:
    chance = random.Random(rig.seed)
    # A slow way to the store: most of the time an upload is under way.
    rig.fault("slow", "b, c", bytes_per_s=2_000_000)
    for host in ("b", "c"):
        rig.lab.link(host, "a", both=False, bytes_per_s=2_000_000)
    job = rig.renter.submit(steps=ENDLESS, pace_s=0.1, save_every=2, state_bytes=1 << 20, ballast=1)
    for epoch in range(1, 5):
        rig.wait_for_run(job, epoch)
        rig.wait_for_save(job, epoch=epoch)
        node = rig.node_of(job)
        rig.wait_for_steps(job, 1, epoch=epoch)
        rig.for_seconds(chance.uniform(0.0, 0.8))
        rig.fault("power_lost", node.name)
        node.lose_power()
        node.start()
    rig.wait_for_run(job, 5)
    rig.lab.heal()
    rig.wait_for_save(job, epoch=5)
    rig.end()


def test_h18_a_damaged_newest_checkpoint_is_noticed_and_an_older_one_is_used(rig: World) -> None:
    job = rig.renter.submit(steps=40, on="b1", pace_s=0.3, save_every=5)
    for _ in range(3):
        rig.wait_for_save(job)
    newest = rig.renter.pages(f"/jobs/{job.id}/checkpoints")[0]
    node = rig.nodes["b1"]
    with rig.cluster.connect() as connection:
        packs = connection.execute(
            """SELECT p.id FROM packs p JOIN checkpoint_packs c ON c.pack_id = p.id AND c.job_id = p.job_id
               WHERE c.checkpoint_id = %s AND p.upload_id = (SELECT upload_id FROM checkpoints WHERE id = %s)""",
            [newest["id"], newest["id"]],
        ).fetchall()
    assert packs
    rig.fault("power_lost", "b1")
    node.lose_power()
    for (pack,) in packs:
        [stored] = [
            path for path in rig.cluster.data.objects.rglob("*") if path.is_file() and pack in path.name
        ]
        content = bytearray(stored.read_bytes())
        content[len(content) // 2] ^= 0x01
        rig.fault("store_damaged", str(stored), job=job.id, checkpoint=newest["id"])
        stored.write_bytes(content)
    node.start()
    rig.wait_for_run(job, 2)
    assert rig.said(job, "began", epoch=2)[0]["step"] == newest["step"] - 5, rig.story(job)
    rig.wait_for_ends()
    listed = {row["id"]: row for row in rig.renter.pages(f"/jobs/{job.id}/checkpoints")}
    assert newest["id"] not in listed or listed[newest["id"]]["damaged_at"], rig.story(job)
