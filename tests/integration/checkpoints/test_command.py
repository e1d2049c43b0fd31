"""`gp4u checkpoints` as a real process against a real API."""

import asyncio
import json
import os
import random
import sys
from pathlib import Path

from tests.integration.checkpoints.conftest import World
from tests.unit.checkpoints.scene import tree


async def gp4u(world: World, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from gp4u.cli import main; main()", "checkpoints", *arguments,
        env={**os.environ, "GP4U_URL": world.url, "GP4U_API_KEY": "gp4u_test", "GP4U_CONFIG": "/nonexistent"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), " ".join(errors.decode().split())


async def test_the_command_lists_verifies_and_reads_back(world: World, tmp_path: Path) -> None:
    job_id = await world.create_job()
    code, output, _ = await gp4u(world, "ls", job_id)
    assert (code, "No checkpoint" in output) == (0, True)
    code, _, errors = await gp4u(world, "verify", job_id)
    assert (code, "No checkpoint" in errors) == (4, True)
    engine = world.engine(await world.place(job_id, "node_a"), tmp_path / "a")
    folder = tmp_path / "a" / "job" / "ckpt"
    folder.mkdir()
    for step in (1, 2):
        (folder / "weights").write_bytes(random.Random(step).randbytes(5_000_000))
        (folder / "empty").touch()
        saved = await engine.snapshot("interval", step)
        assert saved is not None
    code, output, _ = await gp4u(world, "ls", job_id, "--json")
    listed = json.loads(output)
    assert [item["step"] for item in listed] == [2, 1]
    code, output, _ = await gp4u(world, "ls", job_id)
    assert all(item["id"] in output for item in listed)
    code, output, _ = await gp4u(world, "verify", job_id, "--json")
    report = json.loads(output)
    assert (code, report["ok"], report["checkpoint_id"], report["files"]) == (0, True, saved.checkpoint_id, 2)
    assert report["read_bytes"] > 5_000_000
    code, output, errors = await gp4u(world, "get", job_id, "-o", str(tmp_path / "mine"))
    assert (code, errors) == (0, "")
    assert tree(tmp_path / "mine") == tree(folder)
    code, _, errors = await gp4u(world, "get", job_id, "-o", str(tmp_path / "mine"))
    assert (code, "exists already" in errors) == (2, True)

    async with world.database.transaction() as session:
        newest = await world.checkpoints.get(session, job_id, saved.checkpoint_id)
    pack = max(
        (world.store.root / "objects" / "jobs" / job_id / "packs" / name for name in newest.pack_ids),
        key=os.path.getmtime,
    )
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
    code, output, errors = await gp4u(world, "verify", job_id)
    assert (code, "is damaged" in errors) == (1, True)
    code, _, errors = await gp4u(world, "get", job_id, "-o", str(tmp_path / "broken"))
    assert code == 1
    assert not (tmp_path / "broken").exists()
    code, output, _ = await gp4u(world, "verify", job_id, listed[1]["id"])
    assert (code, "is whole" in output) == (0, True)


async def test_the_command_shows_compares_pins_and_forks(world: World, tmp_path: Path) -> None:
    job_id = await world.create_job(name="origin")
    engine = world.engine(await world.place(job_id, "node_a"), tmp_path / "a")
    folder = tmp_path / "a" / "job" / "ckpt"
    folder.mkdir()
    content = bytearray(random.Random(1).randbytes(1_000_000))
    (folder / "weights").write_bytes(content)
    (folder / "same").write_bytes(b"same")
    (folder / "old").write_bytes(b"old")
    older = await engine.snapshot("interval", 1)
    content[300_000] ^= 1
    (folder / "weights").write_bytes(content)
    (folder / "old").unlink()
    (folder / "new").symlink_to("same")
    newer = await engine.snapshot("interval", 2)
    assert older is not None
    assert newer is not None

    code, output, _ = await gp4u(world, "show", job_id, "--json")
    shown = json.loads(output)
    assert (code, shown["id"]) == (0, newer.checkpoint_id)
    assert [(each["path"], each["kind"], each["size"]) for each in shown["entries"]] == [
        ("new", "symlink", 0), ("same", "file", 4), ("weights", "file", 1_000_000)
    ]  # fmt: skip
    code, output, _ = await gp4u(world, "diff", job_id, older.checkpoint_id, "--json")
    told = json.loads(output)
    assert [(each["path"], each["change"], each["changed_bytes"]) for each in told["differences"]] == [
        ("new", "added", 0), ("old", "removed", 3), ("weights", "changed", 256 * 1024)
    ]  # fmt: skip
    assert told["changed_bytes"] == 256 * 1024 + 3
    code, output, _ = await gp4u(world, "diff", job_id, newer.checkpoint_id)
    assert (code, "Nothing differs" in output) == (0, True)

    code, output, _ = await gp4u(world, "pin", job_id, older.checkpoint_id, "--json")
    assert (code, json.loads(output)["pinned_at"] is None) == (0, False)
    code, output, _ = await gp4u(world, "ls", job_id)
    assert "(pinned)" in output
    code, output, _ = await gp4u(world, "unpin", job_id, older.checkpoint_id, "--json")
    assert (code, json.loads(output)["pinned_at"]) == (0, None)
    code, _, errors = await gp4u(world, "pin", job_id, "ckpt_none")
    assert code == 4

    code, output, errors = await gp4u(world, "fork", job_id, older.checkpoint_id, "--name", "again", "-d")
    assert (code, errors) == (0, "")
    forked = output.strip()
    async with world.database.transaction() as session:
        job = await world.jobs.get(session, forked)
    assert (job.name, job.spec.start_from, job.spec.command) == ("again", older.checkpoint_id, "true")
    restored = await world.engine(await world.place(forked, "node_b"), tmp_path / "b").restore()
    assert (restored.checkpoint_id, restored.step) == (older.checkpoint_id, 1)
