"""The programs that this runtime stands on: where they are, and whether they are good enough."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

CRIU_VARIABLE = "GP4U_CRIU"
CRIU_VERSION_MIN = (4, 2)
"""Older ones restore a read-only root writable (4.1) or fail on recent kernels (3.17)."""
_ANSWER_TIMEOUT_S = 10.0
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


class Missing(Exception):
    """A program is not here, or too old; the message says which and what to do."""


@dataclass(frozen=True)
class Program:
    """One program: its absolute path, and the version that it told."""

    path: str
    version: str


def runc() -> Program:
    """Raises Missing."""
    path = shutil.which("runc", path=search_path())
    if path is None:
        raise Missing("runc is not installed")
    return Program(path, _version_of(path, "runc"))


def criu() -> Program:
    """The one that GP4U_CRIU names, else the machine's. Raises Missing, also when it is too old."""
    named = os.environ.get(CRIU_VARIABLE)
    path = named or shutil.which("criu", path=search_path())
    if path is None:
        raise Missing("criu is not installed")
    if not os.access(path, os.X_OK):
        raise Missing(f"{CRIU_VARIABLE} names {path}, which cannot be run")
    version = _version_of(path, "criu")
    wanted = ".".join(str(part) for part in CRIU_VERSION_MIN)
    if tuple(int(part) for part in version.split(".")[:2]) < CRIU_VERSION_MIN:
        raise Missing(f"criu {version} is too old: {wanted} or later is needed")
    if shutil.which("tar") is None:
        raise Missing("tar is not installed")
    return Program(os.path.realpath(path), version)


def _version_of(path: str, name: str) -> str:
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_ANSWER_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"{name} does not run here: {error}") from error
    found = _VERSION.search(said)
    if found is None:
        raise Missing(f"{name} does not tell its version")
    return found[0]


def search_path() -> str:
    """Where programs are looked for. Of a service's PATH the folders of administrators' programs are often missing."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
