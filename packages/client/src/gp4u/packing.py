"""Packs the folder of a job as tar.zst, reproducibly, so that the same folder is uploaded once.

`.gp4uignore` has the syntax of `.gitignore`. `.git`, `__pycache__`, virtual environments and the ignore file itself
never travel.
"""

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import blake3
import pathspec
import zstandard

UPLOAD_BYTES_MAX = 1 << 30
ALWAYS_IGNORED = [".git/", "__pycache__/", ".venv/", "node_modules/", ".gp4u/", ".gp4uignore"]


class FolderTooLarge(ValueError):
    """The packed folder is over the upload limit."""


@dataclass(frozen=True)
class PackedFolder:
    """A folder ready to send. `blake3` is of `content`, in hex."""

    content: bytes
    blake3: str
    files: int


def pack(folder: Path) -> PackedFolder:
    """Pack `folder`. Links that point outside it, sockets and devices are left out. Raises FolderTooLarge."""
    buffer = io.BytesIO()
    count = 0
    with (
        zstandard.ZstdCompressor(level=6).stream_writer(buffer, closefd=False) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in selected(folder):
            information = archive.gettarinfo(path, arcname=str(path.relative_to(folder)))
            # The same content packs to the same bytes, whoever packs it and whenever.
            information.uid = information.gid = 0
            information.uname = information.gname = ""
            information.mtime = 0
            information.mode = 0o755 if information.mode & stat.S_IXUSR else 0o644
            if information.isfile():
                with path.open("rb") as file:
                    archive.addfile(information, file)
            else:
                archive.addfile(information)
            count += 1
            if buffer.tell() > UPLOAD_BYTES_MAX:
                raise FolderTooLarge(
                    f"{folder} packs to more than {UPLOAD_BYTES_MAX >> 30} GiB; list what is not needed in .gp4uignore"
                )
    content = buffer.getvalue()
    return PackedFolder(content, blake3.blake3(content).hexdigest(), count)


def selected(folder: Path) -> Iterator[Path]:
    """The files and inner links that travel, sorted by name."""
    ignore_file = folder / ".gp4uignore"
    patterns = ignore_file.read_text().splitlines() if ignore_file.is_file() else []
    ignored = pathspec.GitIgnoreSpec.from_lines([*ALWAYS_IGNORED, *patterns])
    root = folder.resolve()
    for directory, directories, names in os.walk(folder):
        here = Path(directory)
        directories[:] = sorted(
            name for name in directories if not ignored.match_file(f"{(here / name).relative_to(folder)}/")
        )
        for name in sorted(names):
            path = here / name
            if ignored.match_file(str(path.relative_to(folder))):
                continue
            if path.is_symlink():
                if path.resolve().is_relative_to(root):
                    yield path
            elif path.is_file():
                yield path
