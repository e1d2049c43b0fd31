"""H6: agents' clocks change no price, no lease and no order."""

from pathlib import Path

import pytest

from tests.rig.nodes import resume
from tests.rig.renter import ENDLESS
from tests.rig.world import World

LIBFAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
DAY_S = 86_400


@pytest.mark.skipif(LIBFAKETIME is None, reason="libfaketime is not installed (apt install libfaketime)")
def test_h6_an_agent_whose_clock_jumps_by_days_is_billed_and_fenced_like_any_other(rig: World) -> None:
    wish = rig.lab.folder / "clock-of-c3"
    wish.write_text("+0\n")
    here = str(Path(__file__).parent.parent / "clock")
    node = rig.add_node(
        "c3",
        "c",
        PYTHONPATH=f"{here}:{rig.cluster.python_environment()['PYTHONPATH']}",
        LD_PRELOAD=str(LIBFAKETIME),
        FAKETIME_TIMESTAMP_FILE=str(wish),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    try:
        node.wait_until_online()
        # A run that began yesterday by its own node is billed from when it began by ours.
        rig.fault("clock_stepped", "c3", offset_s=-DAY_S)
        wish.write_text(f"{-DAY_S:+d}\n")
        job = rig.renter.submit(steps=ENDLESS, on="c3", pace_s=0.3)
        rig.wait_for_save(job)
        for offset_s in (DAY_S, 3_600, 0):
            rig.fault("clock_stepped", "c3", offset_s=offset_s)
            wish.write_text(f"{offset_s:+d}\n")
            rig.wait_for_steps(job, 3)
        assert len(rig.placements(job)) == 1
        rig.fault("clock_stepped", "c3", offset_s=-DAY_S)
        wish.write_text(f"{-DAY_S:+d}\n")
        rig.fault("cut", "c")
        rig.lab.isolate("c")
        # The host's other machines fell silent at the same moment: one of them may be tried first, and be lost as well.
        rig.wait(
            lambda: [run for run in rig.said(job, "began") if run["epoch"] > 1],
            within_s=150,
            what=f"it goes on elsewhere; {rig.story(job)}",
        )
        rig.lab.heal()
        rig.wait_for_save(job)
        rig.end()
    finally:
        rig.retire(node)


def test_h6_a_machine_that_was_suspended_wakes_into_a_lease_that_is_over(rig: World) -> None:
    """Its monotonic clock went on: what it thinks it holds is long gone."""
    job = rig.renter.submit(steps=ENDLESS, on="b2", pace_s=0.3)
    rig.wait_for_save(job)
    for epoch in (2, 3):
        rig.look()
        node = rig.node_of(job)
        rig.fault("machine_sleeps", node.name)
        stopped = node.pause()
        rig.wait_for_run(job, epoch)
        rig.fault("machine_wakes", node.name)
        resume(stopped)
        rig.wait_for_save(job, epoch=epoch)
    rig.end()
