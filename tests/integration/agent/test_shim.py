"""The shim alone: a full disk under it, nonsense on its socket. The lease's deadline is kept through all of it."""

import asyncio
import contextlib
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from gp4u_agent.job_process import end_leftovers, end_shim
from gp4u_agent.placement_dir import PlacementDir
from gp4u_agent.runtime.port import Limits, Workload
from gp4u_agent.shim.output import read_from
from gp4u_agent.shim_client import ShimClient, launch

from tests.integration.agent.conftest import NAMESPACES_WORK, PROBE, poll

pytestmark = pytest.mark.skipif(
    not NAMESPACES_WORK, reason=f"the sandbox does not work here: {PROBE.why_not}"
)
DISK_BYTES = 2 << 20


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.fixture
def small_disk() -> Any:
    """A file system of two MiB."""
    folder = Path(tempfile.mkdtemp(prefix="gp4u-shim-test-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    try:
        if mounted.returncode != 0:
            pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
        yield folder
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)
        shutil.rmtree(folder)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts a shim with its job, below the folder given; ends them."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(path: Path, command: str, lease_s: float = 60.0) -> tuple[PlacementDir, ShimClient]:
            folder = PlacementDir(path / f"pl-{secrets.token_hex(4)}.1")
            for part in (folder.path, folder.job, folder.control, folder.path / "inside"):
                part.mkdir()
            workload = Workload(
                name=folder.path.name,
                command=command,
                environment={},
                job_dir=folder.job,
                control_dir=folder.control,
                inside_dir=folder.path / "inside",
                checkpoint_path="ckpt",
                limits=Limits(memory_bytes=256 << 20, disk_bytes=64 << 20, cpus=1),
                network=False,
            )
            folder.write(folder.shim_order, {"runtime": "sandbox", "workload": workload.to_json()})
            stack.callback(end_leftovers, folder.path.name)
            stack.callback(end_shim, folder)
            await launch(folder)
            client = ShimClient(folder, lambda status: None)
            stack.push_async_callback(client.close)
            await client.connect()
            said = await client.ask("start", deadline=now() + lease_s)
            assert said["phase"] != "ready"
            return folder, client

        yield start


def output_of(folder: PlacementDir) -> str:
    return read_from(folder.log, 0, 1 << 20)[1].decode()


async def until(ask: Callable[[], Any], what: str, client: ShimClient) -> Any:
    """The first truthy answer, the shim being asked in between."""
    deadline = now() + 20
    while not (answer := ask()):
        assert now() < deadline, f"{what}: {client.status}"
        await client.ask("status")
    return answer


async def test_a_full_disk_ends_neither_shim_nor_job_nor_the_lease(
    small_disk: Path, start: Callable[..., Any]
) -> None:
    command = (
        "echo first; while [ ! -e /run/gp4u/stop ]; do echo lost; sleep 0.001; done; "
        "echo between; while [ -e /run/gp4u/stop ]; do sleep 0.02; done; echo last"
    )
    folder, client = await start(small_disk, command)
    await until(lambda: "first" in output_of(folder), "it runs", client)
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    await until(lambda: client.status["dropped_bytes"] > 0, "output is dropped", client)
    filler.unlink()
    (folder.control / "stop").touch()
    await until(lambda: "between" in output_of(folder), "there is room again", client)
    (folder.control / "stop").unlink()
    await asyncio.wait_for(client.gone.wait(), 20)
    ended = folder.read(folder.exit)
    assert ended is not None
    assert ended["code"] == 0
    assert ended["dropped_bytes"] > 0
    said = output_of(folder)
    assert said.count("output were dropped here: the node's disk was full") == 1
    assert said.endswith("last\n")
    assert ended["log_end"] == len(said.encode())


async def test_h2_on_a_full_disk_the_job_is_frozen_at_the_end_of_its_lease(
    small_disk: Path, start: Callable[..., Any]
) -> None:
    command = "while :; do echo output; dd if=/dev/zero of=fill bs=64k count=64 2>&1; done"
    _, client = await start(small_disk, command, lease_s=2.0)
    await until(lambda: client.status["dropped_bytes"] > 0, "output is dropped", client)
    await until(lambda: client.status["frozen"], "the job is frozen", client)


async def test_a_job_that_fills_the_disk_and_ends_is_still_known_to_have_ended(
    small_disk: Path, start: Callable[..., Any]
) -> None:
    command = "dd if=/dev/zero of=one bs=4k; while echo x >> two; do :; done; exit 3"
    folder, client = await start(small_disk, command)
    await asyncio.wait_for(client.gone.wait(), 20)
    assert (folder.read(folder.exit) or {})["code"] == 3
    assert client.status["exit"]["code"] == 3


async def test_nonsense_on_the_socket_ends_the_connection_and_not_the_job(
    tmp_path: Path, start: Callable[..., Any]
) -> None:
    folder, client = await start(tmp_path, "sleep 60")
    for line in (
        b"nonsense\n",
        b'{"op": "renew"}\n',
        b"[]\n",
        b"\xff\n",
        b'{"op": "start", "deadline": {}}\n',
    ):
        with socket.socket(socket.AF_UNIX) as stranger, folder.socket_address() as address:
            stranger.connect(address)
            stranger.sendall(line)
            stranger.settimeout(5)
            assert stranger.recv(4096) == b""
    assert (await client.ask("status"))["phase"] == "running"


async def test_binary_output_and_lines_without_end_are_kept(
    tmp_path: Path, start: Callable[..., Any]
) -> None:
    command = "head -c 300000 /dev/zero | tr '\\0' x; head -c 4096 /dev/urandom; printf '\\0end'"
    folder, client = await start(tmp_path, command)
    await asyncio.wait_for(client.gone.wait(), 20)
    said = output_of(folder)
    assert said.startswith("x" * 300_000)
    assert said.endswith("\ufffdend")


async def test_what_a_job_left_behind_in_sessions_of_its_own_ends_with_it(
    tmp_path: Path, start: Callable[..., Any]
) -> None:
    command = "(setsid sh -c '(trap \"\" TERM HUP; while :; do date +%N > beats; sleep 0.02; done) &' &) ; sleep 0.5; exit 0"
    folder, client = await start(tmp_path, command)
    beats = folder.job / "beats"
    poll(beats.exists, "the daemon works")
    await asyncio.wait_for(client.gone.wait(), 20)
    last = beats.read_text()
    time.sleep(0.2)
    assert beats.read_text() == last
    assert (folder.read(folder.exit) or {})["code"] == 0


async def test_h2_a_kill_reaches_a_job_that_forks_without_end(
    tmp_path: Path, start: Callable[..., Any]
) -> None:
    command = "while :; do (setsid sleep 60 &) ; sleep 0.005; done"
    folder, client = await start(tmp_path, command)
    client.tell("kill", reason="superseded")
    await asyncio.wait_for(client.gone.wait(), 20)
    assert (folder.read(folder.exit) or {})["reason"] == "superseded"
