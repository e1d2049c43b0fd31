"""gVisor's runsc: where it is, which build, and whether it is good enough."""

import functools
import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gp4u_agent.runtime.bundle.programs import Missing, Program, search_path

RUNSC_VARIABLE = "GP4U_RUNSC"
RUNSC_DATE_MIN = 20240729
"""The oldest that was seen to dump a job and let it go on in place; that of 2022 ends it and starts another in its stead."""
PLATFORM = "systrap"
_ANSWER_TIMEOUT_S = 10.0
_VERSION = re.compile(r"\b(20\d{6})\.(\d+)")


@dataclass(frozen=True)
class Runsc(Program):
    """`build`: its version, its platform and what it holds. Another build reads none of its dumps."""

    build: str


def runsc() -> Runsc:
    """The one that GP4U_RUNSC names, else the machine's. Raises Missing, also when it is too old."""
    named = os.environ.get(RUNSC_VARIABLE)
    path = named or shutil.which("runsc", path=search_path())
    if path is None:
        raise Missing("runsc is not installed")
    if not os.access(path, os.X_OK):
        raise Missing(f"{RUNSC_VARIABLE} names {path}, which cannot be run")
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_ANSWER_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"runsc does not run here: {error}") from error
    version = checked_version(said)
    if shutil.which("tar") is None:
        raise Missing("tar is not installed")
    found = os.stat(path)
    build = f"{version} {PLATFORM} {_content(path, found.st_size, found.st_mtime_ns)}"
    return Runsc(os.path.realpath(path), version, build)


def checked_version(said: str) -> str:
    """The version in what runsc says of itself. Pure. Raises Missing where there is none, or it is too old."""
    found = _VERSION.search(said)
    if found is None:
        raise Missing("runsc does not tell its version")
    if int(found[1]) < RUNSC_DATE_MIN:
        raise Missing(f"runsc {found[0]} is too old: {RUNSC_DATE_MIN} or later is needed")
    return found[0]


@functools.cache
def _content(path: str, size: int, changed_ns: int) -> str:
    """The file by its content; read again when its size or time differs."""
    digest = hashlib.blake2b(digest_size=8)
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()
