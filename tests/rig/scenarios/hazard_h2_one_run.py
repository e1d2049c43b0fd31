"""H2: one job on two nodes. Whatever is cut, paused or killed, of a job one process runs at a time."""

import psutil
import pytest

from tests.rig.nodes import resume
from tests.rig.renter import ENDLESS
from tests.rig.world import World


@pytest.mark.parametrize("direction", ["both", "node_unheard", "node_deaf"])
def test_h2_a_cut_link_freezes_the_run_before_the_job_moves(rig: World, direction: str) -> None:
    job = rig.renter.submit(steps=ENDLESS, on="b1", save_every=4)
    for _ in range(2):  # of two checkpoints the newer one counts
        rig.wait_for_save(job)
    rig.fault("cut", "b", direction=direction)
    if direction == "node_deaf":
        rig.lab.cut("a", "b", both=False)
    else:
        rig.lab.cut("b", "a", both=direction == "both")
    rig.wait_for_run(job, 2)
    rig.wait_for_steps(job, 3, epoch=2)
    rig.fault("heal", "b")
    rig.lab.heal()
    rig.nodes["b1"].wait_until_online()
    rig.end()
    assert {run["host"] for run in rig.said(job, "began", epoch=2)} == {"c"}


def test_h2_a_paused_agent_a_paused_machine_and_dead_shims_never_run_a_job_twice(rig: World) -> None:
    paused, sleeping = (rig.renter.submit(steps=ENDLESS, on=name) for name in ("b1", "c1"))
    orphan = rig.renter.submit(steps=70, on="b2")  # it ends: two machines are left for the two others
    for job in (paused, sleeping, orphan):
        rig.wait_for_save(job)
    rig.fault("agent_paused", "b1")
    stopped_agent = rig.nodes["b1"].pause_agent()
    rig.fault("machine_sleeps", "c1")
    stopped_machine = rig.nodes["c1"].pause()
    placement = rig.nodes["b2"].placement_of(orphan.id)
    assert placement is not None
    shim, below = placement.shim(), placement.job_processes()
    assert shim is not None
    assert below
    rig.fault("shim_killed", "b2")
    shim.kill()
    _, alive = psutil.wait_procs(below, timeout=30)
    assert not alive, "the job dies with its shim"
    rig.wait_for_run(paused, 2)
    rig.wait_for_run(sleeping, 2)
    rig.wait_for_steps(paused, 3, epoch=2)
    rig.fault("agent_wakes", "b1")
    resume(stopped_agent)
    rig.fault("machine_wakes", "c1")
    resume(stopped_machine)
    for name in ("b1", "c1"):
        rig.nodes[name].wait_until_online()
    for job in (paused, sleeping):
        rig.wait_for_save(job)
    rig.end()


def test_h2_a_restarted_agent_takes_its_running_job_up_again(rig: World) -> None:
    job = rig.renter.submit(steps=ENDLESS, on="c1")
    rig.wait_for_save(job)
    for _ in range(3):
        rig.fault("agent_killed", "c1")
        rig.nodes["c1"].kill_agent()
        rig.nodes["c1"].start()
        rig.wait_for_steps(job, 2)
    rig.end()
    runs = {word["run"] for word in rig.said(job, "began", epoch=1)}
    assert len(runs) == 1, "the same process goes on under the new agent"
