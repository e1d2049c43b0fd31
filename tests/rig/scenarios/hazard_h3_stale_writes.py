"""H3: writes of a node that was replaced change nothing."""

from tests.rig.cluster import GATEWAY_PORT
from tests.rig.world import World

BALLAST_BYTES = 6 << 20


def test_h3_an_upload_that_outlives_its_epoch_is_refused(rig: World) -> None:
    """The node loses the gateway in the middle of an upload, and keeps the way to the api and the store."""
    job = rig.renter.submit(
        steps=14, on="b1", pace_s=0.5, save_every=4, ballast=1, ballast_bytes=BALLAST_BYTES
    )
    rig.wait_for_save(job)
    # Fresh bytes, slowly: the next commit is under way for longer than a lease.
    rig.fault("slow", "b", bytes_per_s=40_000)
    rig.lab.link("b", "a", both=False, bytes_per_s=40_000)
    second = rig.renter.submit(
        steps=14, on="b2", pace_s=0.3, save_every=1, ballast=1, ballast_bytes=BALLAST_BYTES
    )
    rig.wait(lambda: rig.said(second, "asked"), within_s=180, what="a commit is under way")
    rig.fault("cut", "b", port=GATEWAY_PORT)
    rig.lab.cut("b", "a", port=GATEWAY_PORT)
    rig.wait_for_run(job, 2)
    rig.wait_for_run(second, 2)
    rig.fault("full_speed", "b")
    rig.lab.link("b", "a", both=False)  # the old epoch's upload may come to its end now
    rig.wait_for_steps(second, 3, epoch=2)
    rig.lab.heal()
    rig.wait_for_ends()
    assert not rig.said(second, "acknowledged", epoch=1), (
        "what epoch 1 sent after it was replaced is not saved"
    )
    assert rig.said(second, "began", epoch=2)[0]["step"] == 0
