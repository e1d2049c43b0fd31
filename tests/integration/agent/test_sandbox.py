"""The sandbox holds: every probe of `escapes.py` is run for real inside it, and limits are read back outside."""

import contextlib
import json
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gp4u_agent.job_process import end_leftovers
from gp4u_agent.runtime import processes, sandbox
from gp4u_agent.runtime.port import Limits, Runtime, Workload
from gp4u_agent.runtime.process import PlainProcesses
from gp4u_agent.runtime.sandbox import Sandbox

from tests.integration.agent import escapes
from tests.integration.agent.conftest import NAMESPACES_WORK, PROBE, poll

pytestmark = pytest.mark.skipif(
    not NAMESPACES_WORK, reason=f"the sandbox does not work here: {PROBE.why_not}"
)
LIMITS = Limits(memory_bytes=256 << 20, disk_bytes=64 << 20, cpus=1, pids_max=100, tmp_bytes=16 << 20)


@contextlib.contextmanager
def running(
    runtime: Runtime,
    command: str,
    environment: dict[str, str] | None = None,
    limits: Limits = LIMITS,
    name: str = "",
    folder: Path | None = None,
) -> Iterator[tuple[Runtime, Path, int]]:
    """The command under this runtime: (runtime, job folder, descriptor of its output)."""
    folder = folder or Path(tempfile.mkdtemp(prefix="gp4u-sandbox-test-"))
    for part in ("job", "control", "inside"):
        (folder / part).mkdir()
    shutil.copy(Path(escapes.__file__), folder / "job" / "escapes.py")
    workload = Workload(
        name=name or f"test-{secrets.token_hex(4)}",
        command=command,
        environment=environment or {},
        job_dir=folder / "job",
        control_dir=folder / "control",
        inside_dir=folder / "inside",
        checkpoint_path="ckpt",
        limits=limits,
        network=False,
    )
    read_end, write_end = os.pipe()
    try:
        runtime.start(workload, write_end)
        os.close(write_end)
        yield runtime, folder / "job", read_end
    finally:
        runtime.kill()
        runtime.clean_up()
        os.close(read_end)
        shutil.rmtree(folder)


def output(fd: int, within_s: float = 60.0) -> str:
    text = b""
    deadline = time.monotonic() + within_s
    while (left := deadline - time.monotonic()) > 0 and select.select([fd], [], [], left)[0]:
        piece = os.read(fd, 1 << 16)
        if not piece:
            return text.decode()
        text += piece
    raise AssertionError(f"no end of the output: {text!r}")


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, str]]:
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
        try:
            with running(Sandbox(), "python escapes.py", environment) as (_, _, fd):
                said = output(fd)
            assert outsider.poll() is None, "a process outside was killed"
            yield json.loads(said.splitlines()[-1])
        finally:
            del os.environ["HOST_SECRET"]
            outsider.kill()
            outsider.wait()


@pytest.mark.parametrize("probe", escapes.PROBES)
def test_escape_is_held(answers: dict[str, str], probe: str) -> None:
    assert answers[probe].startswith("held"), answers[probe]


def test_limits_are_read_back_from_the_kernel() -> None:
    with running(Sandbox(), "sleep 60") as (runtime, _, _):
        applied = runtime.applied()
    assert applied["rlimit.file size"] == str(LIMITS.disk_bytes)
    assert applied["rlimit.core file size"] == "0"
    if "memory" in PROBE.proven:
        assert applied["cgroup.memory"] == str(LIMITS.memory_bytes)
        assert applied["cgroup.pids"] == "100"


def test_without_cgroups_the_resource_limits_bound_it() -> None:
    with running(Sandbox(use_cgroups=False), "sleep 60") as (runtime, _, _):
        applied = runtime.applied()
    assert applied["rlimit.processes"] == "100"
    assert applied["rlimit.address space"] != "unlimited"


FREEZERS = {
    "cgroup 2": lambda: Sandbox(prefer_cgroup_version=2),
    "cgroup 1": lambda: Sandbox(prefer_cgroup_version=1),
    "signals": lambda: Sandbox(use_cgroups=False),
    "plain processes": lambda: PlainProcesses(),
    "plain processes, signals": lambda: PlainProcesses(use_cgroups=False),
}
FORKING = "(while :; do date +%N >> beats; sleep 0.02; done) & (setsid sh -c 'while :; do date +%N >> beats; sleep 0.02; done') & wait"


@pytest.mark.parametrize("kind", FREEZERS)
def test_h2_a_frozen_job_does_nothing_and_goes_on_when_thawed(kind: str) -> None:
    with running(FREEZERS[kind](), FORKING) as (runtime, job, _):
        beats = job / "beats"
        poll(lambda: beats.exists() and beats.stat().st_size > 100, "it works")
        poll(runtime.freeze, "the freeze is complete", within_s=2)
        size = beats.stat().st_size
        time.sleep(0.3)
        assert beats.stat().st_size == size
        runtime.thaw()
        poll(lambda: beats.stat().st_size > size, "it goes on")


@pytest.mark.parametrize("kind", FREEZERS)
def test_kill_ends_all_of_a_frozen_job_too(kind: str) -> None:
    with running(FREEZERS[kind](), FORKING) as (runtime, job, _):
        poll(lambda: (job / "beats").exists(), "it works")
        tree = runtime.pids()
        assert len(tree) >= 2
        poll(runtime.freeze, "the freeze is complete", within_s=2)
        runtime.kill()
        assert [pid for pid in tree if (f := processes.read_stat(pid)) and f.state != "Z"] == []
        assert runtime.poll() is not None


@pytest.mark.parametrize("kind", FREEZERS)
def test_h2_the_job_dies_with_the_process_that_started_it(kind: str) -> None:
    """What a kill -9 of the shim does, without its loop around it."""
    read_end, write_end = os.pipe()
    parent, name = os.getpid(), f"test-{secrets.token_hex(4)}"
    folder = Path(tempfile.mkdtemp(prefix="gp4u-sandbox-test-"))
    child = os.fork()
    if child == 0:
        try:
            with running(FREEZERS[kind](), FORKING, name=name, folder=folder) as (runtime, job, _):
                poll(lambda: (job / "beats").exists() and len(runtime.pids()) >= 2, "it works")
                os.write(write_end, json.dumps(runtime.pids()).encode())
                while os.getppid() == parent:
                    time.sleep(0.1)
        finally:
            os._exit(1)
    try:
        os.close(write_end)
        assert select.select([read_end], [], [], 20)[0]
        tree = json.loads(os.read(read_end, 1 << 16))
    finally:
        os.close(read_end)
        os.kill(child, 9)
        os.waitpid(child, 0)
    try:
        poll(
            lambda: not [pid for pid in tree if (f := processes.read_stat(pid)) and f.state != "Z"],
            "everything is gone",
            within_s=5,
        )
    finally:
        end_leftovers(name)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("command", "code", "number"), [("exit 0", 0, None), ("exit 7", 7, None), ("kill -9 $$", None, 9)]
)
@pytest.mark.parametrize("kind", ["cgroup 2", "plain processes"])
def test_how_it_ended_is_told(kind: str, command: str, code: int | None, number: int | None) -> None:
    with running(FREEZERS[kind](), command) as (runtime, _, _):
        ended = poll(runtime.poll, "it ends")
    assert (ended.code, ended.signal) == (code, number)


def test_the_probe_says_what_it_proved() -> None:
    proven = sandbox.probe()
    assert proven.works
    assert proven.proven.startswith("bubblewrap+seccomp")


def test_the_probe_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "bwrap_path", lambda: "/bin/false")
    proven = sandbox.probe()
    assert not proven.works
    assert "could not be set up" in proven.why_not
