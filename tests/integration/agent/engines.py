"""Container engines of the tests' own: started where their programs are installed, apart from any that the machine runs."""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gp4u_agent.runtime.bundle.programs import Missing, criu
from gp4u_agent.runtime.containers.engine import ENGINE_VARIABLE, EngineUnavailable, connect
from gp4u_agent.runtime.containers.probe import import_image

PROGRAMS = ("sh", "sleep", "date", "setsid", "cat", "head", "tr", "dd", "touch", "mkdir", "kill", "python3")
UP_TIMEOUT_S = 40.0


class NoEngine(Exception):
    """This engine cannot be started here; the message says why."""


@contextlib.contextmanager
def started(kind: str) -> Iterator[str]:
    """An engine in folders and a network namespace of its own: its address. Raises NoEngine."""
    if os.geteuid() != 0:
        raise NoEngine("an engine of the tests' own needs root")
    program = {"podman": "podman", "docker": "dockerd"}[kind]
    if shutil.which(program) is None:
        raise NoEngine(f"{program} is not installed")
    folder = Path(tempfile.mkdtemp(prefix=f"gp4u-{kind}-"))
    url = f"unix://{folder}/engine.sock"
    command = _podman(folder) if kind == "podman" else _docker(folder)
    # CRIU wants to reach the loopback, which is down in a fresh namespace.
    loopback = ["sh", "-c", 'ip link set lo up; exec "$@"', "sh"] if shutil.which("ip") else []
    (folder / "containers.conf").write_text('[network]\nnetwork_backend = "netavark"\n')
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            # Its firewall rules must not reach the machine's own network; it ends with us, however we end.
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", *loopback, *command],
            stdout=log,
            stderr=log,
            cwd=folder,  # Podman's monitor leaves files where its engine was started
            env={
                **os.environ,
                "CONTAINERS_CONF": str(folder / "containers.conf"),
                "PATH": f"{_with_criu(folder)}:{os.environ['PATH']}",
            },
        )
    try:
        _await(url, process, folder / "log")
        yield url
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if str(folder) in line.split()[1]:
                subprocess.run(["umount", "-l", line.split()[1]], check=False, capture_output=True)
        subprocess.run(["rm", "-rf", folder], check=False)


def _with_criu(folder: Path) -> Path:
    """A folder of programs with the criu that GP4U_CRIU names, which Podman shall take."""
    programs = folder / "bin"
    programs.mkdir()
    with contextlib.suppress(Missing):
        command = f'exec {criu().path} "$@"'
        if without_sys_resource() and (preload := limits_preload(folder)):
            command = f"LD_PRELOAD={preload} {command}"
        (programs / "criu").write_text(f"#!/bin/sh\n{command}\n")
        (programs / "criu").chmod(0o755)
    return programs


def without_sys_resource() -> bool:
    """Whether root here cannot ask for the limits of other users' processes, which CRIU has to."""
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return not int(effective.split()[1], 16) >> 24 & 1


def limits_preload(folder: Path) -> Path | None:
    """What stands for that capability in tests: CRIU's question is answered from /proc. None: there is no compiler."""
    compiler, made = shutil.which("cc"), folder / "limits.so"
    if compiler is None:
        return None
    source = Path(__file__).with_name("limits_preload.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source], check=True)
    return made


def _podman(folder: Path) -> list[str]:
    if shutil.which("runc") is None:
        raise NoEngine(
            "runc is not installed: Podman's other runtime fails where root lacks CAP_SYS_RESOURCE"
        )
    return [
        *("podman", "--root", f"{folder}/data", "--runroot", f"{folder}/run", "--tmpdir", f"{folder}/tmp"),
        *("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
        *("system", "service", "--time", "0", f"unix://{folder}/engine.sock"),
    ]


def _docker(folder: Path) -> list[str]:
    return [
        *("dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/run"),
        *("--pidfile", f"{folder}/pid", "--host", f"unix://{folder}/engine.sock", "--storage-driver", "vfs"),
        *(
            "--iptables=false",
            "--ip6tables=false",
            "--bridge=none",
            "--exec-opt",
            "native.cgroupdriver=cgroupfs",
        ),
    ]


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + UP_TIMEOUT_S
    while True:
        try:
            client, _ = connect(url)
        except EngineUnavailable as error:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").splitlines()[-3:]
                raise NoEngine(f"it does not come up: {error}; {' | '.join(said)}") from None
            time.sleep(0.1)
        else:
            client.close()
            return


@contextlib.contextmanager
def chosen(url: str) -> Iterator[None]:
    """The runtime finds this engine meanwhile."""
    before = os.environ.get(ENGINE_VARIABLE)
    os.environ[ENGINE_VARIABLE] = url
    try:
        yield
    finally:
        del os.environ[ENGINE_VARIABLE]
        if before is not None:
            os.environ[ENGINE_VARIABLE] = before


@functools.cache
def image(url: str) -> str:
    """An image with the programs that the tests' jobs use."""
    with chosen(url):
        programs = [
            str(Path(sys.base_prefix, "bin", name)) if name == "python3" else name for name in PROGRAMS
        ]
        folder = Path(sys.base_prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}")
        return import_image(programs, [folder])


def can_stand_for_sys_resource() -> bool:
    """Whether `limits_preload` can be made here."""
    return shutil.which("cc") is not None
