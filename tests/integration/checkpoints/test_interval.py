"""The automatic interval on the platform: begun with, told with a commit, shown, and carried to the next node."""

from pathlib import Path

import pytest
from gp4u_agent.checkpoint.engine import Pace
from gp4u_protocol.checkpoint.interval import advised_interval_s
from gp4u_protocol.job_spec import CheckpointRule
from gp4u_server.catalyst.jobs.reading import JobReader
from gp4u_server.foundation.streams import Streams

from tests.integration.checkpoints.conftest import World


async def test_an_automatic_interval_is_told_shown_and_carried_on(
    world: World, tmp_path: Path, valkey_url: str
) -> None:
    streams = Streams.connect(valkey_url)
    job_id = await world.create_job(checkpoint=CheckpointRule(path="ckpt", every_s=45, auto=True))
    placed = await world.place(job_id, "node_a")
    assert (placed.spec.checkpoint_every_s, placed.spec.checkpoint_hazard_per_hour) == (45, 0.5)
    engine = world.engine(placed, tmp_path / "a")
    folder = tmp_path / "a" / "job" / "ckpt"
    folder.mkdir()
    (folder / "state").write_text("1")
    assert await engine.snapshot("interval", pace=Pace(every_s=99.5, cost_s=1.5)) is not None
    async with world.database.transaction() as session:
        shown = await JobReader(streams).job(session, "usr_renter", job_id)
        timeline = await JobReader(streams).timeline(session, "usr_renter", job_id, 0, 100)
    await streams.close()
    assert shown.placement is not None
    assert shown.placement.checkpoint_interval is not None
    assert shown.placement.checkpoint_interval.model_dump() == {
        "every_s": 99.5, "cost_s": 1.5, "hazard_per_hour": 0.5
    }  # fmt: skip
    assert [event.detail.get("every_s") for event in timeline if event.kind == "checkpoint"] == [99.5]
    await world.lose("node_a")
    after = await world.place(job_id, "node_b")
    assert after.spec.checkpoint_every_s == pytest.approx(advised_interval_s(1.5, 0.5), abs=0.5)


async def test_a_fixed_interval_is_what_it_was(world: World) -> None:
    placed = await world.place(await world.create_job(), "node_a")
    assert (placed.spec.checkpoint_every_s, placed.spec.checkpoint_hazard_per_hour) == (60, None)
