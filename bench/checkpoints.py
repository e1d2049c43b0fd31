"""Checkpoint speed beside restic, borg and the disk itself, on the same bytes, in the same run.

    python -m bench.checkpoints                     1 GiB, 5 % changed
    python -m bench.checkpoints --size-mb 128 --json

Ours: the agent's engine over HTTP to the API's own folder store, in a process of its own; fence and rows are answered from
memory (PostgreSQL's share is a few milliseconds a checkpoint), bytes and fsync are real. restic: its default settings on a local
repository; borg: encryption `repokey-blake2`, its default compression. All encrypt, deduplicate, verify on restore and write
to the same disk; the disk's own figures are a plain copy of the same files with fsync. Rates swing with the machine's load: read the
ratios, and beside them the processor seconds that ours took (agent and store's server), which swing less.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import uvicorn
import uvloop
from fastapi import FastAPI, Request
from gp4u_agent.checkpoint.engine import CheckpointEngine
from gp4u_agent.http import AgentHttp
from gp4u_protocol.messages import DesiredRun, PlacementSpec
from gp4u_server.adapters import objectstore_web
from gp4u_server.adapters.objectstore import FolderObjectStore
from gp4u_server.catalyst.checkpoints.service import pack_key

MIB = 1 << 20
CHANGED_SHARE = 0.05
CHANGED_RUN_BYTES = 4 * MIB
API = "/api/v1/agent/checkpoints"


def make_folder(folder: Path, size_mb: int) -> None:
    """Files of 64 MiB as a training run has them: float32-like bytes that do not compress."""
    folder.mkdir(parents=True)
    left = size_mb
    number = 0
    while left > 0:
        part = min(64, left)
        with (folder / f"weights-{number:03}.bin").open("wb") as file:
            for _ in range(part):
                file.write(os.urandom(MIB))
        left, number = left - part, number + 1


def change_folder(folder: Path, size_mb: int) -> None:
    """Rewrite 5 % in runs of 4 MiB at places that fit no block of either program."""
    chance = random.Random(5)
    files = sorted(folder.iterdir())
    left = int(size_mb * MIB * CHANGED_SHARE)
    while left > 0:
        path = chance.choice(files)
        length = min(CHANGED_RUN_BYTES, left, path.stat().st_size)
        with path.open("r+b") as file:
            file.seek(chance.randrange(path.stat().st_size - length + 1))
            file.write(os.urandom(length))
        left -= length


def bytes_in(folder: Path) -> int:
    """Bytes that a folder's files take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# --- our side: the store's server -------------------------------------------------------------------------


def serve(root: Path, port: int, ready: Connection) -> None:
    """The folder store as the API serves it, and the agent's calls answered from memory."""
    store = FolderObjectStore.open(root, bytes(32))
    app = FastAPI()
    app.state.provided = {FolderObjectStore: store}
    app.include_router(objectstore_web.router, prefix="/api/v1")
    rows: list[dict[str, Any]] = []

    @app.get(API)
    async def points() -> dict[str, Any]:
        return {"items": rows[::-1]}

    @app.post(f"{API}/open")
    async def opened() -> dict[str, Any]:
        return {"upload_id": "up", "seq": len(rows) + 1}

    @app.post(f"{API}/packs")
    async def packs(request: Request) -> dict[str, Any]:
        wanted = (await request.json())["packs"]
        signed = [
            await store.sign_put(pack_key("job", p["id"]), size_bytes=p["size_bytes"], expires_in_s=900)
            for p in wanted
        ]
        return {
            "packs": [
                {"id": p["id"], "url": s.url, "headers": s.headers}
                for p, s in zip(wanted, signed, strict=True)
            ]
        }

    @app.post(f"{API}/manifest")
    async def manifest(request: Request) -> dict[str, Any]:
        body = await request.json()
        signed = await store.sign_put(f"m/{body['blake3']}", size_bytes=body["size_bytes"], expires_in_s=900)
        return {"url": signed.url, "headers": signed.headers}

    @app.post(f"{API}/commit")
    async def commit(request: Request) -> dict[str, Any]:
        body = await request.json()
        for pack in body["packs"]:
            assert await store.size_of(pack_key("job", pack["id"])) == pack["size_bytes"]
        number = len(rows) + 1
        rows.append(
            {"id": f"ckpt_{number}", "epoch": 1, "seq": number, "manifest_blake3": body["blake3"],
             "packs": [pack["id"] for pack in body["packs"]], "step": None}
        )  # fmt: skip
        return rows[-1]

    @app.get(API + "/{checkpoint_id}/download")
    async def download(checkpoint_id: str) -> dict[str, Any]:
        row = next(row for row in rows if row["id"] == checkpoint_id)
        key = f"m/{row['manifest_blake3']}"
        urls = {pack: await store.sign_get(pack_key("job", pack), expires_in_s=900) for pack in row["packs"]}
        return {**row, "manifest_url": await store.sign_get(key, expires_in_s=900), "packs": urls}

    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
    server = uvicorn.Server(config)

    async def run() -> None:
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        ready.send(True)
        await running

    uvloop.run(run())  # as the API does


async def measure_ours(work: Path, source: Path, size_mb: int) -> dict[str, float]:
    """Seconds and stored bytes of the engine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    server = context.Process(target=serve, args=(work / "store", port, theirs), daemon=True)
    server.start()
    mine.recv()
    http = AgentHttp(f"http://127.0.0.1:{port}")
    spec = PlacementSpec(
        placement_id="p", job_id="job", epoch=1, desired=DesiredRun.RUN, job_name="j", command="true", device_uuids=[],
        cpus=1, memory_mb=1, disk_mb=1, checkpoint_path=source.name, checkpoint_every_s=1,
    )  # fmt: skip
    key = os.urandom(32)
    spent = _Spent(server.pid)
    try:
        engine = CheckpointEngine(http, spec, key, source, work / "cache", lambda: ())
        with spent.measured("first"):
            assert await engine.snapshot("interval") is not None
        change_folder(source, size_mb)
        with spent.measured("changed"):
            changed = await engine.snapshot("interval")
        assert changed is not None
        with spent.measured("unchanged"):
            assert await engine.snapshot("interval") is None
        target = work / "restored" / source.name
        reader = CheckpointEngine(http, spec, key, target, work / "cache2", lambda: ())
        with spent.measured("restore"):
            await reader.restore()
    finally:
        await http.close()
        server.terminate()
        server.join()
    assert same(source, target), "the restored folder differs"
    shutil.rmtree(work / "restored")
    return {**spent.seconds, "stored_bytes": changed.stored_bytes}


class _Spent:
    """Seconds, and processor seconds of this process and the server's, by name."""

    def __init__(self, server_pid: int | None) -> None:
        self.seconds: dict[str, float] = {}
        self._processes = [psutil.Process(), psutil.Process(server_pid)]

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Note what the block takes."""
        started, before = time.perf_counter(), self._processor_s()
        yield
        self.seconds[f"{name}_s"] = time.perf_counter() - started
        self.seconds[f"{name}_processor_s"] = self._processor_s() - before

    def _processor_s(self) -> float:
        times = [process.cpu_times() for process in self._processes]
        return sum(each.user + each.system for each in times)


def measure_disk(work: Path, source: Path, change: Callable[[], None]) -> dict[str, float]:
    """Seconds of a plain copy with fsync: of everything, of the changed files, and back."""

    def copy(one: Path, other: Path, names: set[str] | None = None) -> float:
        other.mkdir(exist_ok=True)
        started = time.perf_counter()
        for path in sorted(one.iterdir()):
            if names is None or path.name in names:
                with path.open("rb") as reading, (other / path.name).open("wb") as writing:
                    shutil.copyfileobj(reading, writing, 4 * MIB)
                    writing.flush()
                    os.fsync(writing.fileno())
        return time.perf_counter() - started

    first_s = copy(source, work / "copy")
    before = {path.name: path.stat().st_mtime_ns for path in source.iterdir()}
    change()
    changed = {path.name for path in source.iterdir() if path.stat().st_mtime_ns != before[path.name]}
    changed_s = copy(source, work / "copy", changed)
    restore_s = copy(work / "copy", work / "copied-back")
    for folder in ("copy", "copied-back"):
        shutil.rmtree(work / folder)
    stored = sum((source / name).stat().st_size for name in changed)
    return {"first_s": first_s, "changed_s": changed_s, "restore_s": restore_s, "stored_bytes": stored}


def measure_borg(work: Path, source: Path, change: Callable[[], None]) -> dict[str, float]:
    """Seconds and stored bytes of borg."""
    environment = {
        **os.environ, "BORG_PASSPHRASE": "bench", "BORG_REPO": str(work / "borg"), "BORG_BASE_DIR": str(work / "borg-base"),
    }  # fmt: skip

    def borg(*arguments: str, cwd: Path = work) -> float:
        started = time.perf_counter()
        subprocess.run(["borg", *arguments], env=environment, check=True, cwd=cwd)
        return time.perf_counter() - started

    borg("init", "--encryption", "repokey-blake2")
    first_s = borg("create", "::first", str(source))
    before = bytes_in(work / "borg")
    change()
    changed_s = borg("create", "::changed", str(source))
    stored = bytes_in(work / "borg") - before
    (work / "borg-restored").mkdir()
    restore_s = borg("extract", "::changed", cwd=work / "borg-restored")
    return {"first_s": first_s, "changed_s": changed_s, "restore_s": restore_s, "stored_bytes": stored}


def measure_restic(work: Path, source: Path, change: Callable[[], None]) -> dict[str, float]:
    """Seconds and stored bytes of restic, defaults."""
    environment = {
        **os.environ, "RESTIC_PASSWORD": "bench", "RESTIC_REPOSITORY": str(work / "repository"),
        "RESTIC_CACHE_DIR": str(work / "restic-cache"),
    }  # fmt: skip

    def restic(*arguments: str) -> float:
        started = time.perf_counter()
        subprocess.run(["restic", "-q", *arguments], env=environment, check=True, cwd=work)
        return time.perf_counter() - started

    restic("init")
    first_s = restic("backup", str(source))
    before = bytes_in(work / "repository")
    change()
    changed_s = restic("backup", str(source))
    stored = bytes_in(work / "repository") - before
    restore_s = restic("restore", "latest", "--target", str(work / "restic-restored"))
    return {"first_s": first_s, "changed_s": changed_s, "restore_s": restore_s, "stored_bytes": stored}


def same(one: Path, two: Path) -> bool:
    """Whether two folders hold the same bytes."""
    return subprocess.run(["diff", "-rq", str(one), str(two)], check=False).returncode == 0


def main() -> None:
    """Measure both and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-mb", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--alone", action="store_true", help="measure nobody else beside us")
    parser.add_argument("--folder", type=Path, help="where to work (needs five times the size)")
    arguments = parser.parse_args()
    size_mb = arguments.size_mb
    work = Path(tempfile.mkdtemp(prefix="gp4u-bench-", dir=arguments.folder))
    try:
        source = work / "job" / "ckpt"
        make_folder(source, size_mb)
        peers: dict[str, dict[str, float]] = {}

        def change() -> None:
            change_folder(source, size_mb)

        for name, measure in () if arguments.alone else (("restic", measure_restic), ("borg", measure_borg)):
            if shutil.which(name):
                peers[name] = measure(work, source, change)
                shutil.rmtree(work / f"{name}-restored")
            else:
                print(f"{name} is not installed: nothing to compare with", file=sys.stderr)
        if not arguments.alone:
            peers["disk"] = measure_disk(work, source, change)
        ours = asyncio.run(measure_ours(work, source, size_mb))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report(size_mb, ours, peers, as_json=arguments.json)


def report(
    size_mb: int, ours: dict[str, float], peers: dict[str, dict[str, float]], *, as_json: bool
) -> None:
    """MB/s of the folder's whole size, and what the change took in the store."""
    megabytes = size_mb * MIB / 1e6

    def rates(measured: dict[str, float]) -> dict[str, float]:
        return {
            "first_mb_s": round(megabytes / measured["first_s"], 1),
            "changed_mb_s": round(megabytes / measured["changed_s"], 1),
            "restore_mb_s": round(megabytes / measured["restore_s"], 1),
            "stored_percent": round(100 * measured["stored_bytes"] / (size_mb * MIB), 2),
        }

    mine = rates(ours)
    processor_s = {
        name.removesuffix("_processor_s"): round(seconds, 2)
        for name, seconds in ours.items()
        if name.endswith("_processor_s")
    }
    result: dict[str, Any] = {
        "size_mb": size_mb, "changed_percent": 100 * CHANGED_SHARE, "ours": mine, "unchanged_s": ours["unchanged_s"],
        "processor_s": processor_s,
        **{name: rates(measured) for name, measured in peers.items()},
        "ratio": {
            name: {key: round(mine[key] / value, 2) for key, value in rates(measured).items()}
            for name, measured in peers.items()
        },
    }  # fmt: skip
    if as_json:
        print(json.dumps(result))
        return
    print(
        f"{size_mb} MiB, {CHANGED_SHARE:.0%} changed      first    changed    restore   (MB/s)   stored for the change"
    )
    for name in ("ours", *peers):
        r = result[name]
        print(
            f"{name:<22}{r['first_mb_s']:>10}{r['changed_mb_s']:>11}{r['restore_mb_s']:>11}{r['stored_percent']:>20} %"
        )
    for name in peers:
        r = result["ratio"][name]
        print(
            f"{'ours / ' + name:<22}{r['first_mb_s']:>9}×{r['changed_mb_s']:>10}×{r['restore_mb_s']:>10}×{r['stored_percent']:>20}×"
        )
    spent = ", ".join(f"{name} {seconds}" for name, seconds in processor_s.items())
    print(
        f"unchanged: {ours['unchanged_s'] * 1000:.0f} ms · processor seconds of ours, both processes: {spent}"
    )


if __name__ == "__main__":
    main()
