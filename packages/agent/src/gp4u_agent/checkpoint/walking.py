"""Walking a job's checkpoint folder without ever following what the job put there.

The agent may read files that the job may not. Every step therefore opens one name below an open directory, with O_NOFOLLOW: a link
that the job swaps in for a file or folder is an error, never a way out.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gp4u_protocol.checkpoint.errors import Unrepresentable
from gp4u_protocol.checkpoint.limits import ENTRIES_MAX
from gp4u_protocol.checkpoint.manifest import EntryKind, is_safe_path, is_safe_target

TEMPORARY_SUFFIXES = (".tmp", ".part", ".partial", ".swp", "~")
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a pipe that the job put in place of a file must not hang the agent.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Signature:
    """What changes whenever a file's content changes, if the file was quiet before (see collecting)."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Signature":
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def newest_ns(self) -> int:
        """The later of the two instants."""
        return max(self.mtime_ns, self.ctime_ns)


@dataclass(frozen=True)
class Found:
    """One thing in the folder. `target` of symbolic links only."""

    path: str
    kind: EntryKind
    mode: int
    mtime_ns: int
    signature: Signature
    target: str | None = None


@dataclass(frozen=True)
class Listing:
    """Everything that a snapshot may take, folders before what they hold; and what it may not, with the reason."""

    found: list[Found]
    left_out: dict[str, str]


def is_temporary(name: str) -> bool:
    """Whether a name says that its file or folder is not finished."""
    return name.startswith(".") or name.endswith(TEMPORARY_SUFFIXES)


@contextmanager
def opened_folder(folder: Path, inner_parts: int) -> Iterator[int]:
    """A descriptor of `folder`, whose last `inner_parts` names are the job's to change. Raises OSError."""
    anchor = folder.parents[inner_parts - 1] if inner_parts else folder
    descriptor = os.open(anchor, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in folder.parts[len(folder.parts) - inner_parts :]:
            below = os.open(name, _DIRECTORY_FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def list_folder(root: int) -> Listing:
    """Walk everything below the open directory `root`. What vanishes meanwhile is not there."""
    listing = Listing([], {})
    _list_below(root, "", listing)
    return listing


def open_file(root: int, path: str) -> int:
    """A descriptor of the regular file at `path` below `root`. Raises OSError when it is anything else."""
    *folders, name = path.split("/")
    directory = root
    try:
        for folder in folders:
            below = os.open(folder, _DIRECTORY_FLAGS, dir_fd=directory)
            if directory != root:
                os.close(directory)
            directory = below
        descriptor = os.open(name, _FILE_FLAGS, dir_fd=directory)
    finally:
        if directory != root:
            os.close(directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return descriptor


def _list_below(directory: int, prefix: str, listing: Listing) -> None:
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        path = f"{prefix}{name}"
        if is_temporary(name):
            continue
        if not is_safe_path(path):
            listing.left_out[path.encode("utf-8", "backslashreplace").decode()] = "name too long or not UTF-8"
            continue
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            _list_one(directory, name, path, status, listing)
        except FileNotFoundError:
            continue
        except OSError as error:
            listing.left_out[path] = error.strerror or type(error).__name__
        if len(listing.found) > ENTRIES_MAX:
            raise Unrepresentable(f"more than {ENTRIES_MAX} files in the checkpoint folder")


def _list_one(directory: int, name: str, path: str, status: os.stat_result, listing: Listing) -> None:
    mode = stat.S_IMODE(status.st_mode) & 0o777
    signature = Signature.of(status)
    if stat.S_ISDIR(status.st_mode):
        below = os.open(name, _DIRECTORY_FLAGS, dir_fd=directory)
        try:
            listing.found.append(Found(path, EntryKind.DIRECTORY, mode, status.st_mtime_ns, signature))
            _list_below(below, f"{path}/", listing)
        finally:
            os.close(below)
    elif stat.S_ISREG(status.st_mode):
        listing.found.append(Found(path, EntryKind.FILE, mode, status.st_mtime_ns, signature))
    elif stat.S_ISLNK(status.st_mode):
        target = os.readlink(name, dir_fd=directory)
        if is_safe_target(path, target):
            found = Found(path, EntryKind.SYMLINK, 0o777, status.st_mtime_ns, signature, target)
            listing.found.append(found)
        else:
            listing.left_out[path] = "a link that leaves the folder"
    else:
        listing.left_out[path] = "not a file, folder or link"
