"""A job that begins with another job's checkpoint: what it reads, under which keys, and what is kept for it."""

import random
from pathlib import Path

import pytest
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_protocol.job_spec import JobSpec
from gp4u_server.catalyst.checkpoints.control import CollectionLoop
from gp4u_server.catalyst.checkpoints.errors import CheckpointNotFound, TooManyPinned
from gp4u_server.catalyst.jobs.errors import JobNotFound
from sqlalchemy import text

from tests.integration.bookings.world import BookingWorld
from tests.integration.checkpoints.conftest import Placed, World
from tests.integration.checkpoints.test_collection import collection_of, set_running, visible
from tests.unit.checkpoints.scene import tree

API = "/api/v1/agent/checkpoints"


async def saved_job(world: World, root: Path, steps: int = 1) -> tuple[str, list[str]]:
    """A job on node_a with so many checkpoints; answers its id and theirs."""
    job_id = await world.create_job()
    engine = world.engine(await world.place(job_id, "node_a"), root)
    folder = root / "job" / "ckpt"
    folder.mkdir(exist_ok=True)
    made = []
    for step in range(1, steps + 1):
        (folder / "weights").write_bytes(random.Random(step).randbytes(700_000))
        saved = await engine.snapshot("interval", step)
        assert saved is not None
        made.append(saved.checkpoint_id)
    return job_id, made


def call(placed: Placed) -> dict[str, str | int]:
    return {"placement_id": placed.spec.placement_id, "epoch": placed.spec.epoch}


async def test_a_fork_begins_there_and_goes_its_own_way(world: World, tmp_path: Path) -> None:
    origin, (start, newest) = await saved_job(world, tmp_path / "a", steps=2)
    forked = await world.fork(start)
    placed = await world.place(forked, "node_b")
    engine = world.engine(placed, tmp_path / "b")
    restored = await engine.restore()
    assert (restored.checkpoint_id, restored.step) == (start, 1)
    folder = tmp_path / "b" / "job" / "ckpt"
    assert (folder / "weights").read_bytes() == random.Random(1).randbytes(700_000)
    (folder / "log").write_text("forked")
    own = await engine.snapshot("interval", 5)
    assert own is not None
    assert (own.epoch, own.seq) == (1, 1)
    assert own.stored_bytes > 700_000, "nothing is shared: it has a key of its own"
    assert await visible(world, origin) == [newest, start]
    await world.lose("node_b")
    after = await world.place(forked, "node_c")
    assert after.spec.restore is not None
    assert after.spec.restore.checkpoint_id == own.checkpoint_id
    again = await world.engine(after, tmp_path / "c").restore()
    assert (again.checkpoint_id, again.step) == (own.checkpoint_id, 5)
    assert tree(tmp_path / "c" / "job" / "ckpt") == tree(folder)


async def test_a_fork_that_loses_its_node_before_it_saved_begins_again(world: World, tmp_path: Path) -> None:
    _, (start,) = await saved_job(world, tmp_path / "a")
    forked = await world.fork(start)
    first = world.engine(await world.place(forked, "node_b"), tmp_path / "b")
    await first.restore()
    await world.lose("node_b")
    restored = await world.engine(await world.place(forked, "node_c"), tmp_path / "c").restore()
    assert restored.checkpoint_id == start


async def test_an_agent_that_restarts_before_the_forks_first_checkpoint_saves_everything(
    world: World, tmp_path: Path
) -> None:
    _, (start,) = await saved_job(world, tmp_path / "a")
    placed = await world.place(await world.fork(start), "node_b")
    await world.engine(placed, tmp_path / "b").restore()
    saved = await world.engine(placed, tmp_path / "b").snapshot("interval", 2)
    assert saved is not None
    assert saved.stored_bytes > 700_000


async def test_the_origins_key_is_for_the_forks_node_and_only_until_it_has_saved(
    world: World, tmp_path: Path
) -> None:
    origin, (start,) = await saved_job(world, tmp_path / "a")
    placed = await world.place(await world.fork(start), "node_b")
    stranger = await world.place(await world.create_job(), "node_s")
    path = f"{API}/{start}/download"
    answer = await world.agent("node_b").get_json(path, call(placed))
    assert answer["origin"]["job_id"] == origin
    with pytest.raises(HttpFailure) as failure:
        await world.agent("node_s").get_json(path, call(stranger))
    assert failure.value.code == "checkpoint_not_found"
    engine = world.engine(placed, tmp_path / "b")
    await engine.restore()
    assert await engine.snapshot("interval", 2) is not None
    with pytest.raises(HttpFailure) as failure:
        await world.agent("node_b").get_json(path, call(placed))
    assert failure.value.code == "checkpoint_not_found"
    points = await world.agent("node_b").get_json(API, call(placed))
    assert [point["origin_job_id"] for point in points["items"]] == [None]


async def test_nobody_forks_or_pins_what_is_not_theirs(world: World, tmp_path: Path) -> None:
    job_id, (start,) = await saved_job(world, tmp_path / "a")
    for checkpoint_id in (start, "ckpt_none"):
        with pytest.raises(CheckpointNotFound):
            await world.fork(checkpoint_id, "usr_other")
    async with world.database.transaction() as session:
        with pytest.raises(JobNotFound):
            await world.choices.pin(session, "usr_other", job_id, start)
    async with world.renter("usr_other") as other:
        for verb in ("pin", "unpin"):
            path = f"/api/v1/jobs/{job_id}/checkpoints/{start}/{verb}"
            assert (await other.post(path)).status_code == 404
        assert (await other.get(f"/api/v1/jobs/{job_id}/checkpoints/{start}")).status_code == 404


async def test_booking_checks_whose_checkpoint_a_job_begins_with(world: World, tmp_path: Path) -> None:
    _, (start,) = await saved_job(world, tmp_path / "a")
    bookings = BookingWorld(world.database)
    renter_id = await bookings.renter()
    for checkpoint_id in (start, "ckpt_none"):
        with pytest.raises(CheckpointNotFound):
            async with world.database.transaction() as session:
                await bookings.bookings.submit_job(
                    session, renter_id, JobSpec(command="true", start_from=checkpoint_id)
                )


async def test_h19_what_a_fork_begins_with_is_kept_until_it_has_saved_or_ended(
    world: World, tmp_path: Path
) -> None:
    origin, made = await saved_job(world, tmp_path / "a", steps=4)
    async with world.database.transaction() as session:
        (placement_id,) = await session.scalars(
            text("SELECT id FROM placements WHERE job_id = :j"), {"j": origin}
        )
        await session.execute(
            text("UPDATE placements SET running_at = now() WHERE id = :i"), {"i": placement_id}
        )
    saving, ending = await world.fork(made[0]), await world.fork(made[1])
    loop = CollectionLoop(world.database, collection_of(world))

    async def collect() -> list[str]:
        async with world.database.transaction() as session:
            await session.execute(text("UPDATE checkpoint_collections SET next_at = now()"))
        await loop.run_once()
        return (await visible(world, origin))[::-1]

    assert await collect() == made
    placed = await world.place(saving, "node_b")
    await set_running(world, placed)
    engine = world.engine(placed, tmp_path / "b")
    await engine.restore()
    assert await engine.snapshot("interval", 9) is not None
    assert await collect() == made[1:]
    async with world.database.transaction() as session:
        await world.jobs.request_stop(session, ending, "by_renter")
    await collect()
    assert await collect() == made[2:]


async def test_pins_have_a_limit(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gp4u_server.catalyst.checkpoints.choosing.PINNED_MAX", 1)
    job_id, made = await saved_job(world, tmp_path / "a", steps=2)
    async with world.database.transaction() as session:
        for _ in range(2):
            await world.choices.pin(session, "usr_renter", job_id, made[0])
        with pytest.raises(TooManyPinned):
            await world.choices.pin(session, "usr_renter", job_id, made[1])
        await world.choices.unpin(session, "usr_renter", job_id, made[0])
        await world.choices.pin(session, "usr_renter", job_id, made[1])
