"""Checkpoints through the real API: the engine, the fence, the rows, the renter's way to them."""

import asyncio
import base64
import os
import random
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from fastapi.routing import APIRoute
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.http import AgentHttp, StaleEpoch
from gp4u_protocol.checkpoint.manifest import open_manifest
from gp4u_protocol.checkpoint.reading import Staging, plan_reads
from gp4u_protocol.checkpoint.sealing import JobKeys, Opener
from gp4u_protocol.job_spec import CheckpointRule
from gp4u_protocol.transparent import TransparentFacts
from gp4u_server.catalyst.checkpoints import agent_endpoints
from gp4u_server.catalyst.checkpoints.service import StoredFootprint
from sqlalchemy import text

from tests.integration.checkpoints.conftest import World, decoded
from tests.unit.checkpoints.scene import tree

API = "/api/v1/agent/checkpoints"


def _fill(folder: Path, step: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(random.Random(step).randbytes(1_500_000))
    (folder / "step").write_text(str(step))
    (folder / "empty").mkdir(exist_ok=True)


async def test_a_job_goes_on_elsewhere_from_what_was_saved(world: World, tmp_path: Path) -> None:
    job_id = await world.create_job()
    first = await world.place(job_id, "node_a")
    engine = world.engine(first, tmp_path / "a")
    assert (await engine.restore()).checkpoint_id is None
    for step in (1, 2):
        _fill(tmp_path / "a" / "job" / "ckpt", step)
        saved = await engine.snapshot("job", step)
        assert saved is not None
    assert await engine.snapshot("interval") is None
    await world.lose("node_a")
    second = await world.place(job_id, "node_b")
    assert second.spec.restore is not None
    assert second.spec.restore.checkpoint_id == saved.checkpoint_id
    restored = await world.engine(second, tmp_path / "b").restore()
    assert (restored.checkpoint_id, restored.step, restored.seq) == (saved.checkpoint_id, 2, 2)
    assert tree(tmp_path / "b" / "job" / "ckpt") == tree(tmp_path / "a" / "job" / "ckpt")
    async with world.database.transaction() as session:
        job = await world.jobs.get(session, job_id)
        open_uploads = await session.scalar(
            text("SELECT count(*) FROM open_uploads WHERE finished_at IS NULL")
        )
    assert (job.checkpoints_count, open_uploads) == (2, 0)


async def test_a_dump_of_the_whole_job_says_whose_signature_it_bears(world: World, tmp_path: Path) -> None:
    """The key is the platform's word on who made it; the router hears what that node was."""
    made_by = TransparentFacts(by="criu 4.2.1", machine="x86_64", system="abc")
    job_id = await world.create_job(checkpoint=CheckpointRule(path="ckpt", source="transparent"))
    first = await world.place(job_id, "node_a")
    engine = world.engine(first, tmp_path / "a")
    await engine.restore()
    _fill(tmp_path / "a" / "job" / "ckpt", 1)
    _fill(tmp_path / "a" / "dump", 2)
    saved = await engine.snapshot("interval", whole=made_by.model_dump(mode="json"))
    assert saved is not None
    await world.lose("node_a")
    second = await world.place(job_id, "node_b")
    restored = await world.engine(second, tmp_path / "b").restore()
    assert restored.dumped_by == base64.b64encode(blake3(b"node_a").digest()).decode()
    assert tree(tmp_path / "b" / "dump") == tree(tmp_path / "a" / "dump")
    assert not (tmp_path / "b" / "job" / "ckpt").exists()
    async with world.database.transaction() as session:
        job = await world.jobs.get(session, job_id)
        assert await StoredFootprint().dumped_on(session, job) == made_by
    async with world.renter() as renter:
        (shown,) = (await renter.get(f"/api/v1/jobs/{job_id}/checkpoints")).json()["items"]
    assert shown["transparent"] is True


async def test_h3_every_call_of_an_old_epoch_is_refused(world: World, tmp_path: Path) -> None:
    """Each recorded kind of call of epoch 1 is replayed once epoch 2 exists; the list comes from the routes."""
    job_id = await world.create_job()
    old = await world.place(job_id, "node_a")
    engine = world.engine(old, tmp_path / "a")
    _fill(tmp_path / "a" / "job" / "ckpt", 1)
    saved = await engine.snapshot("interval", 1)
    assert saved is not None
    agent = world.agent("node_a")
    fence = {"placement_id": old.spec.placement_id, "epoch": 1}
    opened = await agent.post_json(f"{API}/open", fence)
    manifest = {"upload_id": opened["upload_id"], "blake3": "0" * 64, "size_bytes": 1}
    bodies: dict[str, Any] = {
        "/checkpoints/open": fence,
        "/checkpoints/packs": {
            **fence, "upload_id": opened["upload_id"], "packs": [{"id": "0" * 32, "size_bytes": 1}]
        },
        "/checkpoints/manifest": {**fence, **manifest},
        "/checkpoints/commit": {
            **fence, **manifest, "packs": [], "files": 0, "content_bytes": 0, "stored_bytes": 0, "step": 9,
            "trigger": "final",
        },
        "/checkpoints/{checkpoint_id}/damaged": {**fence, "detail": "x"},
    }  # fmt: skip
    await world.lose("node_a")
    await world.place(job_id, "node_b")
    tried = 0
    for route in agent_endpoints.router.routes:
        assert isinstance(route, APIRoute)
        path = route.path.removeprefix("/agent")
        if path == "/uploads/{upload_id}":
            continue  # bound to the node's live placements instead; see its own test
        url = f"/api/v1/agent{path.replace('{checkpoint_id}', saved.checkpoint_id)}"
        call = agent.get_json(url, fence) if route.methods == {"GET"} else agent.post_json(url, bodies[path])
        with pytest.raises(StaleEpoch):
            await call
        tried += 1
    assert tried == 7
    _fill(tmp_path / "a" / "job" / "ckpt", 2)
    with pytest.raises(StaleEpoch):
        await engine.snapshot("interval", 2)
    async with world.database.transaction() as session:
        assert len(await world.checkpoints.newest(session, job_id, 10)) == 1


async def test_h3_a_commit_races_with_the_next_epoch(world: World, tmp_path: Path) -> None:
    """Whichever wins, the restore point of the new placement and the rows agree."""
    for round_number in range(6):
        job_id = await world.create_job()
        node = f"node_{round_number}"
        placed = await world.place(job_id, node)
        root = tmp_path / str(round_number)
        engine = world.engine(placed, root)
        _fill(root / "job" / "ckpt", 1)

        async def snapshot(engine: Any = engine) -> bool:
            try:
                return await engine.snapshot("interval", 1) is not None
            except StaleEpoch:
                return False

        async def fail_over(node: str = node, job_id: str = job_id, wait: float = round_number / 60) -> Any:
            await asyncio.sleep(wait)
            await world.lose(node)
            return await world.place(job_id, f"{node}_next")

        saved, after = await asyncio.gather(snapshot(), fail_over())
        async with world.database.transaction() as session:
            rows = await world.checkpoints.newest(session, job_id, 10)
        assert len(rows) == saved
        assert (after.spec.restore is not None) == saved


async def test_a_node_cannot_use_the_placement_of_another(world: World) -> None:
    job_id = await world.create_job()
    placed = await world.place(job_id, "node_a")
    stranger = world.agent("node_b")
    with pytest.raises(StaleEpoch):
        await stranger.post_json(f"{API}/open", {"placement_id": placed.spec.placement_id, "epoch": 1})
    nobody = AgentHttp(world.url)
    with pytest.raises(HttpFailure) as refused:
        await nobody.post_json(f"{API}/open", {"placement_id": placed.spec.placement_id, "epoch": 1})
    assert refused.value.status == 401


async def test_h17_a_commit_that_names_what_is_not_stored_is_refused(world: World, tmp_path: Path) -> None:
    job_id = await world.create_job()
    placed = await world.place(job_id, "node_a")
    agent = world.agent("node_a")
    fence = {"placement_id": placed.spec.placement_id, "epoch": 1}
    opened = await agent.post_json(f"{API}/open", fence)
    content = os.urandom(500)
    manifest = {
        "upload_id": opened["upload_id"], "blake3": blake3(content).hexdigest(), "size_bytes": len(content)
    }  # fmt: skip
    packs = [{"id": os.urandom(16).hex(), "size_bytes": 100} for _ in range(2)]
    rest = {"files": 1, "content_bytes": 1, "stored_bytes": 1, "step": None, "trigger": "job"}

    async def refused(code: str) -> None:
        with pytest.raises(HttpFailure) as failure:
            await agent.post_json(f"{API}/commit", {**fence, **manifest, **rest, "packs": packs})
        assert failure.value.code == code

    await refused("objects_missing")
    addresses = await agent.post_json(
        f"{API}/packs", {**fence, "upload_id": opened["upload_id"], "packs": packs}
    )
    await refused("objects_missing")
    for address in addresses["packs"]:
        await agent.put_bytes(address["url"], os.urandom(100), address["headers"])
    await refused("objects_missing")
    address = await agent.post_json(f"{API}/manifest", {**fence, **manifest})
    await agent.put_bytes(address["url"], os.urandom(500), address["headers"])
    await refused("objects_missing")  # another manifest than announced lies there
    content = os.urandom(500)
    manifest["blake3"] = blake3(content).hexdigest()
    address = await agent.post_json(f"{API}/manifest", {**fence, **manifest})
    await agent.put_bytes(address["url"], content, address["headers"])
    unknown = {"id": os.urandom(16).hex(), "size_bytes": 100}
    other = world.store.root / "objects" / "jobs" / job_id / "packs" / unknown["id"]  # type: ignore[operator]
    other.write_bytes(bytes(100))
    with pytest.raises(HttpFailure) as failure:
        await agent.post_json(f"{API}/commit", {**fence, **manifest, **rest, "packs": [*packs, unknown]})
    assert failure.value.code == "packs_unknown"
    body = {**fence, **manifest, **rest, "packs": packs}
    again = {**body, "blake3": blake3(b"x").hexdigest(), "size_bytes": 1}
    other_manifest = {**fence, **manifest, "blake3": again["blake3"], "size_bytes": 1}
    address = await agent.post_json(f"{API}/manifest", other_manifest)
    await agent.put_bytes(address["url"], b"x", address["headers"])
    committed = await agent.post_json(f"{API}/commit", body)
    assert await agent.post_json(f"{API}/commit", body) == committed, "a lost answer is given again"
    with pytest.raises(HttpFailure) as failure:
        await agent.post_json(f"{API}/manifest", other_manifest)
    assert failure.value.code == "checkpoint_conflict"
    with pytest.raises(HttpFailure) as failure:
        await agent.post_json(f"{API}/commit", again)
    assert failure.value.code == "checkpoint_conflict"


async def test_h18_damage_is_reported_and_the_older_one_used(world: World, tmp_path: Path) -> None:
    job_id = await world.create_job()
    placed = await world.place(job_id, "node_a")
    engine = world.engine(placed, tmp_path / "a")
    for step in (1, 2):
        _fill(tmp_path / "a" / "job" / "ckpt", step)
        saved = await engine.snapshot("interval", step)
    assert saved is not None
    async with world.database.transaction() as session:
        newest = await world.checkpoints.get(session, job_id, saved.checkpoint_id)
    path = world.store.root / "objects" / newest.manifest_key
    path.write_bytes(path.read_bytes()[:-1])
    await world.lose("node_a")
    restored = await world.engine(await world.place(job_id, "node_b"), tmp_path / "b").restore()
    assert (restored.step, restored.damaged) == (1, (saved.checkpoint_id,))
    async with world.renter() as renter:
        listed = (await renter.get(f"/api/v1/jobs/{job_id}/checkpoints")).json()["items"]
    assert [(item["step"], item["damaged_at"] is None) for item in listed] == [(2, False), (1, True)]


async def test_h19_no_address_deletes_and_open_uploads_stay_on_record(world: World, tmp_path: Path) -> None:
    job_id = await world.create_job()
    placed = await world.place(job_id, "node_a")
    agent = world.agent("node_a")
    fence = {"placement_id": placed.spec.placement_id, "epoch": 1}
    opened = await agent.post_json(f"{API}/open", fence)
    pack = {"id": os.urandom(16).hex(), "size_bytes": 4}
    answer = await agent.post_json(
        f"{API}/packs", {**fence, "upload_id": opened["upload_id"], "packs": [pack]}
    )
    url = answer["packs"][0]["url"]
    async with world.database.transaction() as session:
        row = (await session.execute(text("SELECT upload_id, stored_at FROM packs"))).one()
    assert tuple(row) == (opened["upload_id"], None), "on record before its first byte"
    await agent.put_bytes(url, b"data", {"If-None-Match": "*"})
    async with world.renter() as client:
        assert (await client.delete(url)).status_code == 405
    # Whoever deletes rows by hand is stopped by the database while a checkpoint needs them.
    engine = world.engine(placed, tmp_path)
    _fill(tmp_path / "job" / "ckpt", 1)
    assert await engine.snapshot("interval") is not None
    for statement in (
        "DELETE FROM packs WHERE stored_at IS NOT NULL",
        "DELETE FROM open_uploads",
        "DELETE FROM jobs",
    ):
        with pytest.raises(Exception, match="violates"):
            async with world.database.transaction() as session:
                await session.execute(text(statement))


async def test_the_renter_reads_a_checkpoint_back_and_nobody_else_does(world: World, tmp_path: Path) -> None:
    job_id = await world.create_job()
    engine = world.engine(await world.place(job_id, "node_a"), tmp_path / "a")
    _fill(tmp_path / "a" / "job" / "ckpt", 1)
    saved = await engine.snapshot("job", 1)
    assert saved is not None
    path = f"/api/v1/jobs/{job_id}/checkpoints/{saved.checkpoint_id}/download"
    async with world.renter("usr_other") as other:
        assert (await other.post(path)).status_code == 404
        assert (await other.get(f"/api/v1/jobs/{job_id}/checkpoints")).status_code == 404
    async with world.renter() as renter:
        assert (await renter.post(path.replace(saved.checkpoint_id, "ckpt_none"))).status_code == 404
        download = (await renter.post(path)).json()
        keys = JobKeys.derive(job_id, decoded(download["data_key"]))
        content = (await renter.get(download["manifest_url"])).content
        manifest = open_manifest(
            content,
            keys,
            epoch=download["epoch"],
            seq=download["seq"],
            blake3_hex=download["manifest_blake3"],
        )
        staging = Staging(manifest, tmp_path / "mine")
        staging.prepare()
        for read in plan_reads(manifest):
            headers = {"Range": f"bytes={read.start}-{read.end - 1}"}
            answer = await renter.get(download["packs"][read.pack_id.hex()], headers=headers)
            staging.take(Opener(keys), read, answer.content)
        staging.publish()
    assert tree(tmp_path / "mine") == tree(tmp_path / "a" / "job" / "ckpt")


async def test_checkpoints_are_listed_newest_first_page_by_page(world: World, tmp_path: Path) -> None:
    job_id = await world.create_job()
    engine = world.engine(await world.place(job_id, "node_a"), tmp_path)
    for step in range(1, 6):
        _fill(tmp_path / "job" / "ckpt", step)
        await engine.snapshot("interval", step)
    steps: list[int] = []
    cursor = None
    async with world.renter() as renter:
        while True:
            page = await renter.get(
                f"/api/v1/jobs/{job_id}/checkpoints",
                params={"limit": 2, **({"cursor": cursor} if cursor else {})},
            )
            steps += [item["step"] for item in page.json()["items"]]
            cursor = page.json()["next_cursor"]
            if cursor is None:
                break
    assert steps == [5, 4, 3, 2, 1]


async def test_a_folder_is_uploaded_once_and_read_only_by_a_node_that_needs_it(world: World) -> None:
    content = os.urandom(2_000_000)
    body = {"size_bytes": len(content), "blake3": blake3(content).hexdigest()}
    async with world.renter() as renter:
        first = (await renter.post("/api/v1/uploads", json=body)).json()
        assert first["put_url"]
        put = await renter.put(first["put_url"], content=content, headers=first["headers"])
        assert put.status_code == 201
        second = (await renter.post("/api/v1/uploads", json=body)).json()
        assert (second["id"], second["put_url"]) == (first["id"], None)
    async with world.renter("usr_other") as other:
        assert (await other.post("/api/v1/uploads", json=body)).json()["put_url"], (
            "nothing is told about others"
        )
    job_id = await world.create_job(upload_id=first["id"])
    agent = world.agent("node_a")
    with pytest.raises(HttpFailure) as failure:
        await agent.get_json(f"/api/v1/agent/uploads/{first['id']}")
    assert failure.value.code == "upload_not_found"
    await world.place(job_id, "node_a")
    found = await agent.get_json(f"/api/v1/agent/uploads/{first['id']}")
    assert await agent.get_range(found["url"], 0, None) == content
    assert found["blake3"] == body["blake3"]
    stolen = await world.create_job("usr_other", upload_id=first["id"])
    await world.place(stolen, "node_c")
    with pytest.raises(HttpFailure):
        await world.agent("node_c").get_json(f"/api/v1/agent/uploads/{first['id']}")
    await world.lose("node_a")
    with pytest.raises(HttpFailure):
        await agent.get_json(f"/api/v1/agent/uploads/{first['id']}")


async def test_ten_snapshots_at_once_of_ten_jobs(world: World, tmp_path: Path) -> None:
    async def one(number: int) -> None:
        job_id = await world.create_job()
        root = tmp_path / str(number)
        engine = world.engine(await world.place(job_id, f"node_{number}"), root)
        for step in (1, 2, 3):
            _fill(root / "job" / "ckpt", step)
            assert await engine.snapshot("interval", step) is not None

    await asyncio.gather(*(one(number) for number in range(10)))
