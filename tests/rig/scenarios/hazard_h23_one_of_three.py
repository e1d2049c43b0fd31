"""H23 with three of everything: one that stands still, or one host that is cut off, costs no job its place.

The database is on a, so a is never cut off here. What is cut off is an api, a gateway and a controller at once, with the agents
that the gateway served; the machines are on hosts of their own.
"""

from collections.abc import Callable

import pytest

from tests.rig.renter import Job
from tests.rig.scenarios.hazard_h16_h23_several_of_everything import (
    MACHINES,
    PLATFORM,
    large_marketplace,
    several,
)
from tests.rig.world import World

__all__ = ["large_marketplace", "several"]

LONG_S = 10


def jobs_that_stay(rig: World, steps: int, why: str) -> list[Job]:
    """One on each machine, all under way."""
    for name in MACHINES:
        job = rig.renter.submit(steps=steps, on=name, pace_s=0.3, save_every=10)
        rig.history.write("note", what="must_not_move", job=job.id, why=why)
    for job in rig.renter.jobs:
        rig.wait_for_steps(job, 1)
    return rig.renter.jobs


def test_h23_each_of_nine_processes_stands_still_in_turn_and_no_job_moves(several: World) -> None:
    jobs = jobs_that_stay(several, 450, "one process of three stood still at a time")
    for kind in ("gateway", "controller", "api"):
        for host in PLATFORM:
            service = several.cluster.service(f"{kind}@{host}")
            several.fault("paused", service.name, seconds=LONG_S)
            service.pause()
            several.for_seconds(LONG_S)
            for job in jobs:  # they run on while it stands still: those that it served are elsewhere
                if not job.has_ended:
                    several.wait_for_steps(job, 1)
            several.fault("resumed", service.name)
            service.resume()
    several.wait_for_ends()


@pytest.mark.parametrize("how", ["from everybody", "unheard by the machines", "from the database"])
def test_h23_one_of_three_hosts_is_cut_off_and_no_job_moves(several: World, how: str) -> None:
    cut: dict[str, Callable[[str], None]] = {
        "from everybody": several.lab.isolate,
        # It hears every beat, and its answers are lost: it does not know that its agents are about to leave it.
        "unheard by the machines": lambda host: (
            [several.lab.cut(host, to, both=False) for to in "de"] and None
        ),
        # Its agents reach it, and it may soon renew nothing: it sends them to the others.
        "from the database": lambda host: several.lab.cut(host, "a"),
    }
    jobs = jobs_that_stay(several, 260, f"one platform host of three was cut off {how}")
    for host in PLATFORM[1:]:
        several.fault("cut", host, how=how, seconds=LONG_S)
        cut[how](host)
        several.for_seconds(LONG_S)
        for job in jobs:
            if not job.has_ended:
                several.wait_for_steps(job, 1)
        several.fault("heal", host)
        several.lab.heal()
        several.for_seconds(2)
    several.wait_for_ends()
