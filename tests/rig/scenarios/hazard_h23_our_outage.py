"""H23: an outage of ours is no failure of theirs. Nothing moves."""

import pytest

from tests.rig.world import World


def busy_machines(rig: World, steps: int = 60) -> None:
    """A job on every machine, none of which may move."""
    for name in rig.nodes:
        job = rig.renter.submit(steps=steps, on=name, pace_s=0.5, save_every=10)
        rig.history.write("note", what="must_not_move", job=job.id, why="only the platform was away")
    for job in rig.renter.jobs:
        rig.wait_for_steps(job, 1)


@pytest.mark.parametrize(("names", "seconds"), [(("gateway@a", "controller@a"), 60), (("postgres",), 30)])
def test_h23_a_platform_that_stands_still_moves_no_job(
    rig: World, names: tuple[str, ...], seconds: int
) -> None:
    busy_machines(rig)
    for name in names:
        rig.fault("paused", name, seconds=seconds)
        rig.cluster.service(name).pause()
    rig.for_seconds(seconds)
    for name in names:
        rig.fault("resumed", name)
        rig.cluster.service(name).resume()
    rig.wait_for_ends()


def test_h23_a_platform_killed_and_away_moves_no_job(rig: World) -> None:
    busy_machines(rig, steps=40)
    for name in ("gateway@a", "controller@a", "api@a"):
        rig.fault("killed", name)
        rig.cluster.service(name).kill()
    rig.for_seconds(20)
    for name in ("gateway@a", "controller@a", "api@a"):
        rig.cluster.service(name).start()
    rig.wait_for_ends()
