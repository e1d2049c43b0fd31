"""H24: a machine that comes and goes plays no ping-pong with a job."""

from tests.rig.world import World

MOVES_MAX = 3


def test_h24_a_flapping_machine_is_left_after_a_few_moves(rig: World) -> None:
    job = rig.renter.submit(steps=200, on="b1", pace_s=0.3, save_every=5)
    rig.wait_for_save(job)
    rig.fault("flapping", "b", up_s=9, down_s=8)
    rig.lab.link("b", "a", flap_s=(9, 8))
    rig.for_seconds(75)
    rig.fault("heal", "b")
    rig.lab.heal()
    rig.wait_for_ends()
    assert len(rig.placements(job)) - 1 <= MOVES_MAX, rig.story(job)
