"""H28: disks that take seconds for what took milliseconds. Everybody waits longer, nothing is lost, and no job moves."""

import psutil
import pytest

from tests.rig.renter import ENDLESS
from tests.rig.slow_disk import SlowDisk, why_not
from tests.rig.world import World

WRITES_PER_S, BYTES_PER_S = 20, 400_000
SLOW_S = 30


def test_h28_slow_disks_of_the_database_and_of_a_machine_move_no_job(rig: World) -> None:
    if reason := why_not(rig.lab.folder):
        pytest.skip(f"no slow disk here: {reason}")
    for name in ("b1", "c1"):
        job = rig.renter.submit(
            steps=ENDLESS, on=name, pace_s=0.3, save_every=5, state_bytes=1 << 20, ballast=1
        )
        rig.history.write("note", what="must_not_move", job=job.id, why="a disk was slow")
    for job in rig.renter.jobs:
        rig.wait_for_save(job)
    running = rig.cluster.service("postgres").running
    assert running is not None
    server = psutil.Process(running.pid)
    targets = {
        "postgres": [server, *server.children(recursive=True)],
        "b1": rig.nodes["b1"].everything(),
    }
    for name, processes in targets.items():
        rig.fault("slow_disk", name, writes_per_s=WRITES_PER_S, bytes_per_s=BYTES_PER_S)
        limits = {"writes_per_s": WRITES_PER_S, "bytes_per_s": BYTES_PER_S}
        with SlowDisk(rig.lab.folder, name, **limits) as disk:
            disk.take(process.pid for process in processes)
            rig.for_seconds(SLOW_S)
            for job in rig.renter.jobs:
                rig.wait_for_save(job)
        rig.fault("full_speed", name)
        for job in rig.renter.jobs:
            rig.wait_for_save(job)
    rig.end()
