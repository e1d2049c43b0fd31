"""Which files a job's processes can still change: open for writing, or mapped shared and writable."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FileIdentity = tuple[int, int]
"""(device, inode)."""


@dataclass(frozen=True)
class Writers:
    """The answer of one look. `blind`: some process could not be looked into, so more may be open."""

    files: frozenset[FileIdentity]
    blind: bool


def look(pids: Iterable[int]) -> Writers:
    """Look at every process of `pids`; those that are gone count for nothing."""
    files: set[FileIdentity] = set()
    blind = False
    for pid in pids:
        process = Path("/proc") / str(pid)
        try:
            files.update(_open_for_writing(process))
            files.update(_mapped_writable(process))
        except PermissionError:
            blind = True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return Writers(frozenset(files), blind)


def _open_for_writing(process: Path) -> Iterable[FileIdentity]:
    for number in os.listdir(process / "fd"):
        try:
            status = os.stat(process / "fd" / number)
            if not stat.S_ISREG(status.st_mode):
                continue
            details = (process / "fdinfo" / number).read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        flags = next((line.split()[1] for line in details.splitlines() if line.startswith("flags:")), "2")
        if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
            yield status.st_dev, status.st_ino


def _mapped_writable(process: Path) -> Iterable[FileIdentity]:
    with (process / "maps").open(errors="replace") as lines:
        for line in lines:
            # address perms offset major:minor inode path
            fields = line.split(maxsplit=5)
            if fields[4] != "0" and fields[1][1] == "w" and fields[1][3] == "s":
                major, minor = fields[3].split(":")
                yield os.makedev(int(major, 16), int(minor, 16)), int(fields[4])
