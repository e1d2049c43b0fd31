"""Finding a container engine and what it can do. The SDK is imported when an engine is asked for, never before."""

import contextlib
import os
import socket
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker import APIClient

ENGINE_VARIABLE = "GP4U_CONTAINER_ENGINE"
SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock")
ANSWER_TIMEOUT_S = 15
PULL_TIMEOUT_S = 600
_CDI_SINCE = {"docker": (28, 0), "podman": (5, 0)}


class EngineUnavailable(Exception):
    """No engine can be used; the message says why."""


@dataclass(frozen=True)
class Engine:
    """An engine that answered.

    Attributes:
        kind: "docker" or "podman": they take the seccomp profile in different ways.
        rootless: its containers live in a user namespace of its owner; then their limits are not ours to set.
        gives_devices: whether it gives GPUs by their CDI names (older ones ignore the request silently).
        systemd_groups: whether systemd makes its containers' control groups (their parents are then slices).
        oci: the program that it runs containers with, for example "runc".
    """

    url: str
    kind: str
    version: str
    rootless: bool
    gives_devices: bool
    systemd_groups: bool = False
    oci: str = ""


def engine_url() -> str | None:
    """Where the engine listens: as told by GP4U_CONTAINER_ENGINE, else the usual sockets. None where there is none."""
    if told := os.environ.get(ENGINE_VARIABLE):
        return told
    for path in SOCKETS:
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.stat(path).st_mode):
                return f"unix://{path}"
    return None


def connect(url: str | None = None, *, timeout_s: int = ANSWER_TIMEOUT_S) -> tuple["APIClient", Engine]:
    """A client and what it speaks with. Raises EngineUnavailable."""
    url = url or engine_url()
    if url is None:
        raise EngineUnavailable(f"no container engine was found (looked at {', '.join(SOCKETS)})")
    if not url.startswith("unix://"):
        # Folders are given to containers by their path, and processes are checked by their number: both are this machine's.
        raise EngineUnavailable("the container engine must be on this machine, at a unix:// address")
    try:
        import docker  # noqa: PLC0415 - 0.3 s that only nodes with an engine pay
        import requests  # noqa: PLC0415
    except ImportError as error:
        raise EngineUnavailable(f"the docker SDK is not installed: {error}") from error
    try:
        client = docker.APIClient(base_url=url, version="auto", timeout=timeout_s)
        said = client.version()
        about = client.info()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise EngineUnavailable(f"the container engine at {url} does not answer: {error}") from error
    return client, _engine(url, said, about)


def _engine(url: str, said: dict[str, Any], about: dict[str, Any]) -> Engine:
    names = [str(part.get("Name", "")) for part in said.get("Components") or []]
    kind = "podman" if any("podman" in name.lower() for name in names) else "docker"
    version = str(said.get("Version", ""))
    options = [str(option) for option in about.get("SecurityOptions") or []]
    return Engine(
        url=url,
        kind=kind,
        version=version,
        rootless=bool(about.get("Rootless")) or any("rootless" in option for option in options),
        gives_devices=_numbers(version) >= _CDI_SINCE[kind],
        systemd_groups=about.get("CgroupDriver") == "systemd",
        oci=str(about.get("DefaultRuntime") or "").rpartition("/")[2],
    )


def _numbers(version: str) -> tuple[int, ...]:
    parts = []
    for part in version.split(".")[:2]:
        digits = "".join(character for character in part if character.isdigit())
        parts.append(int(digits or 0))
    return tuple(parts)


def process_of(url: str) -> int:
    """The process that listens at the engine's socket. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(url.removeprefix("unix://"))
        said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", said)[0]
    return pid
