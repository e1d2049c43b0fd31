"""The contract of the Runtime port, for real against every adapter that this machine can run; the others say why they are skipped."""

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gp4u_agent.job_process import end_leftovers
from gp4u_agent.runtime import processes
from gp4u_agent.runtime.containers.leftovers import end_container
from gp4u_agent.runtime.gvisor.outside import tasks_max

from tests.integration.agent import escapes
from tests.integration.agent.bundles import no_bundles_here, no_gvisor_here
from tests.integration.agent.conftest import NAMESPACES_WORK, PROBE, poll
from tests.integration.agent.runtimes import (
    ENGINES,
    ISOLATED,
    LIMITS,
    SETTINGS,
    Adapter,
    adapter,
    output,
    running,
)

FORKING = "(while :; do date +%N >> beats; sleep 0.02; done) & (setsid sh -c 'while :; do date +%N >> beats; sleep 0.02; done') & wait"


@contextlib.contextmanager
def under(kind: str, urls: dict[str, str]) -> Iterator[Adapter]:
    if kind in ENGINES:
        if not urls[kind].startswith("unix://"):
            pytest.skip(urls[kind])
        with adapter(kind, urls[kind]) as found:
            yield found
    else:
        if kind == "bundle" and (why_not := no_bundles_here()):
            pytest.skip(why_not)
        if kind == "gvisor" and (why_not := no_gvisor_here()):
            pytest.skip(why_not)
        if not NAMESPACES_WORK and "plain" not in kind:
            pytest.skip(f"the sandbox does not work here: {PROBE.why_not}")
        with adapter(kind, None) as found:
            yield found


@pytest.fixture(params=SETTINGS)
def ran(request: pytest.FixtureRequest, engine_urls: dict[str, str]) -> Iterator[Adapter]:
    """Every adapter in turn."""
    with under(request.param, engine_urls) as found:
        yield found


@pytest.fixture(params=ISOLATED)
def isolated(request: pytest.FixtureRequest, engine_urls: dict[str, str]) -> Iterator[Adapter]:
    """Every adapter that isolates."""
    with under(request.param, engine_urls) as found:
        yield found


@pytest.fixture(scope="module", params=ISOLATED)
def answers(request: pytest.FixtureRequest, engine_urls: dict[str, str]) -> Iterator[dict[str, str]]:
    """What came of every probe."""
    outsider = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    os.environ["HOST_SECRET"] = "must not be seen"
    with (
        socket.socket() as listener,
        socket.socket(socket.AF_UNIX) as abstract,
        tempfile.NamedTemporaryFile() as secret,
    ):
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        name = f"gp4u-{secrets.token_hex(4)}"
        abstract.bind("\0" + name)
        abstract.listen()
        environment = {
            "OUTSIDE_PID": str(outsider.pid),
            "OUTSIDE_PORT": str(listener.getsockname()[1]),
            "OUTSIDE_ABSTRACT": name,
            "OUTSIDE_FILE": secret.name,
        }
        if request.param in ENGINES:
            environment["IMAGE"] = "yes"
        limits = LIMITS
        if request.param == "gvisor":
            environment["GVISOR"] = "yes"
            limits = replace(
                LIMITS, memory_bytes=1 << 30
            )  # a process costs its kernel 5 MB: the bomb must meet the other bound
        try:
            with (
                under(request.param, engine_urls) as adapter,
                running(
                    adapter.make(), "python3 escapes.py", environment, limits=limits, image=adapter.image
                ) as (runtime, _, fd),
            ):
                said = output(runtime, fd)
            assert outsider.poll() is None, "a process outside was killed"
            yield json.loads(said.splitlines()[-1])
        finally:
            del os.environ["HOST_SECRET"]
            outsider.kill()
            outsider.wait()


@pytest.mark.parametrize("probe", escapes.PROBES)
def test_escape_is_held(answers: dict[str, str], probe: str) -> None:
    assert answers[probe].startswith("held"), answers[probe]


def test_h2_a_frozen_job_does_nothing_and_goes_on_when_thawed(ran: Adapter) -> None:
    with running(ran.make(), FORKING, image=ran.image) as (runtime, job, _):
        beats = job / "beats"
        poll(lambda: beats.exists() and beats.stat().st_size > 100, "it works", ran.patience)
        poll(runtime.freeze, "the freeze is complete")
        size = beats.stat().st_size
        time.sleep(0.3)
        assert beats.stat().st_size == size
        runtime.thaw()
        poll(lambda: beats.stat().st_size > size, "it goes on")


def test_kill_ends_all_of_a_frozen_job_too(ran: Adapter) -> None:
    with running(ran.make(), FORKING, image=ran.image) as (runtime, job, _):
        poll(lambda: (job / "beats").exists(), "it works", ran.patience)
        tree = runtime.pids()
        assert len(tree) >= 2
        poll(runtime.freeze, "the freeze is complete")
        runtime.kill()
        assert [pid for pid in tree if (f := processes.read_stat(pid)) and f.state != "Z"] == []
        ended = poll(runtime.poll, "its end is known", ran.patience)
        assert ended.signal == signal.SIGKILL


def test_h2_the_job_dies_with_the_process_that_started_it(ran: Adapter) -> None:
    """What a kill -9 of the shim does, without its loop around it. It is frozen then, as behind a cut link."""
    read_end, write_end = os.pipe()
    parent, name = os.getpid(), f"test-{secrets.token_hex(4)}"
    folder = Path(tempfile.mkdtemp(prefix="gp4u-runtime-test-"))
    child = os.fork()
    if child == 0:
        try:
            with running(ran.make(), FORKING, name=name, folder=folder, image=ran.image) as (runtime, job, _):
                poll(lambda: (job / "beats").exists() and len(runtime.pids()) >= 2, "it works", ran.patience)
                os.write(write_end, json.dumps(runtime.pids()).encode())
                while os.getppid() == parent:
                    time.sleep(0.1)
        finally:
            os._exit(1)
    try:
        os.close(write_end)
        assert select.select([read_end], [], [], ran.patience)[0]
        tree = json.loads(os.read(read_end, 1 << 16))
    finally:
        os.close(read_end)
        os.kill(child, 9)
        os.waitpid(child, 0)
    try:
        poll(
            lambda: not [pid for pid in tree if (f := processes.read_stat(pid)) and f.state != "Z"],
            "everything is gone",
        )
    finally:
        end_leftovers(name)
        if ran.image:
            assert end_container(name, within_s=30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("command", "code", "number"), [("exit 0", 0, None), ("exit 7", 7, None), ("kill -9 $$", None, 9)]
)
def test_how_it_ended_is_told(ran: Adapter, command: str, code: int | None, number: int | None) -> None:
    with running(ran.make(), command, image=ran.image) as (runtime, _, _):
        ended = poll(runtime.poll, "it ends", ran.patience)
    assert (ended.code, ended.signal) == (code, number)


def test_all_output_arrives_before_the_end_does(ran: Adapter) -> None:
    command = "head -c 400000 /dev/zero | tr '\\0' x; printf '\\377\\0'; echo error >&2; printf last"
    said = bytearray()

    def ends() -> object:
        while select.select([fd], [], [], 0)[0] and (piece := os.read(fd, 1 << 16)):
            said.extend(piece)
        return runtime.poll()

    with running(ran.make(), command, image=ran.image) as (runtime, _, fd):
        poll(ends, "it ends", ran.patience)
        ends()
    assert bytes(said) == b"x" * 400_000 + b"\xff\0error\nlast"


def test_sigterm_reaches_the_job_and_only_the_job_decides(ran: Adapter) -> None:
    command = "trap 'echo saved; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    with running(ran.make(), command, image=ran.image) as (runtime, _, fd):
        assert select.select([fd], [], [], ran.patience)[0]
        assert os.read(fd, 6) == b"ready\n"
        runtime.terminate()
        ended = poll(runtime.poll, "it ends", ran.patience)
        assert ended.code == 3
        assert b"saved" in os.read(fd, 4096)


def test_a_daemon_ends_with_the_job_that_started_it(ran: Adapter) -> None:
    command = "setsid sh -c \"trap '' TERM HUP; while :; do date +%N > beats; sleep 0.02; done\" & sleep 0.5"
    with running(ran.make(), command, image=ran.image) as (runtime, job, _):
        poll(runtime.poll, "it ends", ran.patience)
        runtime.kill()
        before = (job / "beats").read_text()
        time.sleep(0.2)
        assert (job / "beats").read_text() == before


def test_memory_is_bounded_and_the_reason_is_known(isolated: Adapter) -> None:
    command = "exec python3 -c 'b = bytearray()\nwhile True: b += bytes(1 << 22)'"
    with running(isolated.make(), command, image=isolated.image) as (runtime, _, _):
        if "cgroup.memory" not in runtime.applied():
            pytest.skip("no memory group here: the shim's watcher bounds it (test_placement.py)")
        kills = 0

        def ends() -> object:
            nonlocal kills
            kills = max(kills, runtime.usage().out_of_memory_kills)
            return runtime.poll()

        ended = poll(ends, "it is ended", isolated.patience)
        kills = max(kills, runtime.usage().out_of_memory_kills)
    assert ended.signal == signal.SIGKILL
    assert kills > 0


def test_processes_are_bounded(isolated: Adapter) -> None:
    command = "i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i+1)); done; echo unbounded; wait"
    with running(isolated.make(), command, image=isolated.image) as (runtime, _, fd):
        poll(
            lambda: len(runtime.pids()) >= LIMITS.pids_max - 10 or runtime.poll(),
            "it forks",
            isolated.patience,
        )
        assert len(runtime.pids()) <= LIMITS.pids_max
        assert b"unbounded" not in (os.read(fd, 4096) if select.select([fd], [], [], 0.5)[0] else b"")


def test_what_was_applied_is_told(isolated: Adapter) -> None:
    with running(isolated.make(), "sleep 60", image=isolated.image) as (runtime, _, _):
        applied = runtime.applied()
    assert applied["user"]
    engines = {"bundle": "runc", "gvisor": "runsc", **{kind: kind for kind in ENGINES}}
    if isolated.kind in engines:
        assert applied["cgroup.memory"] == str(LIMITS.memory_bytes)
        # gVisor's own threads are the machine's tasks too: its kernel bounds the job's processes, the machine's both.
        bound = tasks_max(LIMITS) if isolated.kind == "gvisor" else LIMITS.pids_max
        assert applied["cgroup.pids"] == str(bound)
        assert applied["engine"].startswith(engines[isolated.kind])
    if isolated.kind in ENGINES:
        assert applied["image"].removeprefix("sha256:") in str(isolated.image)
