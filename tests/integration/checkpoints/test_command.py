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
