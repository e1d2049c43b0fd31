"""H4, H5: whoever is killed, no second is billed twice and none is left unbilled. Prices are compared by the checker."""

import random

from tests.rig.renter import ENDLESS
from tests.rig.world import World


def test_h4_h5_bills_are_exact_while_whoever_meters_is_killed_again_and_again(rig: World) -> None:
    chance = random.Random(rig.seed)
    # The first saves seldom: what its node takes with it was worth seconds, and is not charged.
    jobs = [
        rig.renter.submit(steps=ENDLESS, on=name, pace_s=0.3, save_every=save_every)
        for name, save_every in (("b1", 20), ("b2", 5), ("c1", 5))
    ]
    for job in jobs:
        rig.wait_for_save(job)
    for round_number in range(6):
        for name in ("controller@a", "worker"):
            rig.fault("killed", name)
            rig.cluster.service(name).kill()
        if round_number == 2:
            rig.wait_for_save(jobs[0])
            rig.wait_for_steps(jobs[0], 12)
            rig.fault("power_lost", "b1")
            rig.nodes["b1"].lose_power()
        if round_number == 3:
            rig.fault("wiped", "valkey")
            rig.cluster.wipe_valkey()
        rig.for_seconds(chance.uniform(0.0, 2.0))
        for name in ("controller@a", "worker"):
            rig.cluster.service(name).start(wait=False)
        rig.for_seconds(chance.uniform(3.0, 6.0))
    rig.nodes["b1"].start()
    rig.wait_for_save(jobs[0])
    rig.end()
