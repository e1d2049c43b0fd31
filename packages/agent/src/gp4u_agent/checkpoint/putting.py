"""Putting a file of ours into a folder of the job's while the job runs: whole at once, over nothing, through no link.

The job may change every name below its folder at any moment. Every step therefore opens one name below an open folder, with
O_NOFOLLOW, and the last one is a rename that refuses to replace.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_FOLDER_MODE = 0o755
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # not in every C library


class Fate(Enum):
    """What became of a file that was to be put into its place."""

    PLACED = auto()
    YIELDED = auto()  # something of the job's lies there, and wins
    BLOCKED = auto()  # something of the job's that is no folder lies on the way


def put_in_place(
    anchor: int, folders: Sequence[str], name: str, staged: Path, modes: Mapping[int, int]
) -> Fate:
    """Move `staged` to `name` below `folders` of the open folder `anchor`; folders that are missing are made.

    The file and those folders get the owner of `anchor`. `modes`: of a folder that is to be made, by its number in `folders`, where it
    is not 0755. Raises OSError for anything else that is in the way; `staged` is then where it was.
    """
    owner = os.fstat(anchor)
    if os.geteuid() == 0:
        os.chown(staged, owner.st_uid, owner.st_gid, follow_symlinks=False)
    directory = os.dup(anchor)
    try:
        for number, folder in enumerate(folders):
            below = _enter(directory, folder, modes.get(number, _FOLDER_MODE), owner)
            os.close(directory)
            directory = below
        _move(staged, directory, name)
    except FileExistsError:
        return Fate.YIELDED
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return Fate.BLOCKED
        raise
    finally:
        os.close(directory)
    return Fate.PLACED


def _enter(directory: int, folder: str, mode: int, owner: os.stat_result) -> int:
    try:
        return os.open(folder, _FOLDER_FLAGS, dir_fd=directory)
    except FileNotFoundError:
        pass
    try:
        _writing(directory, lambda: os.mkdir(folder, 0o700, dir_fd=directory))
    except FileExistsError:  # the job made it meanwhile, or something else of that name
        return os.open(folder, _FOLDER_FLAGS, dir_fd=directory)
    made = os.open(folder, _FOLDER_FLAGS, dir_fd=directory)
    try:
        if os.geteuid() == 0:
            os.fchown(made, owner.st_uid, owner.st_gid)
        os.fchmod(made, mode)
    except OSError:
        os.close(made)
        raise
    return made


def _move(staged: Path, directory: int, name: str) -> None:
    _writing(directory, lambda: _rename_over_nothing(staged, directory, name))


def _writing(directory: int, act: Callable[[], None]) -> None:
    """Data that was made read-only is: its folder is opened for the moment that the act takes."""
    try:
        act()
    except PermissionError:
        mode = os.fstat(directory).st_mode & 0o7777
        os.fchmod(directory, mode | 0o700)
        try:
            act()
        finally:
            os.fchmod(directory, mode)


def _rename_over_nothing(staged: Path, directory: int, name: str) -> None:
    if _renameat2 is not None:
        source, target = os.fsencode(staged), os.fsencode(name)
        if _renameat2(_AT_FDCWD, source, directory, target, _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code), name)
    # A file system that cannot: the same in two steps. Ended in between, the file may come back once after the job deleted it.
    os.link(staged, name, dst_dir_fd=directory, follow_symlinks=False)
    os.unlink(staged)
