"""The folder sent with a job: a tar.zst of somebody else's making, so nothing in it is believed.

Only regular files, folders and links that stay inside come out of it; names cannot climb, devices and pipes are refused,
and sizes are counted while writing, not taken from headers.
"""

import asyncio
import os
import posixpath
import tarfile
import tempfile
from pathlib import Path
from typing import IO

import blake3
import zstandard

from gp4u_agent.http import AgentHttp

ARCHIVE_BYTES_MAX = 1 << 30
ENTRIES_MAX = 100_000
NAME_BYTES_MAX = 4096
COPY_BYTES = 1 << 20
FRAME_WINDOW_BYTES_MAX = 1 << 27


class BadArchive(Exception):
    """The archive is broken or wants something that no job folder needs; the message says what."""


async def fetch(http: AgentHttp, upload_id: str, target: Path, bytes_max: int) -> None:
    """Download the job's folder into `target`. Raises HttpFailure, BadArchive, OSError."""
    announced = await http.get_json(f"/api/v1/agent/uploads/{upload_id}")
    await fetch_from(http, announced["url"], announced["blake3"], target, bytes_max)


async def fetch_from(http: AgentHttp, url: str, blake3_hex: str, target: Path, bytes_max: int) -> None:
    """Download a job's folder from a signed address into `target`. Raises as `fetch`."""
    with tempfile.TemporaryFile(dir=target.parent) as archive:
        size = 0
        digest = blake3.blake3()
        async with http.download(url) as response:
            async for piece in response.aiter_bytes(COPY_BYTES):
                size += len(piece)
                if size > ARCHIVE_BYTES_MAX:
                    raise BadArchive(f"The job's folder is larger than {ARCHIVE_BYTES_MAX >> 20} MiB packed.")
                digest.update(piece)
                archive.write(piece)
        if digest.hexdigest() != blake3_hex:
            raise BadArchive("The job's folder arrived changed: its hash is not the one that was announced.")
        archive.seek(0)
        # In a thread: a large folder must not hold up the heartbeats.
        await asyncio.to_thread(extract, archive, target, bytes_max)


def extract(archive: IO[bytes], target: Path, bytes_max: int) -> None:
    """Unpack into the empty folder `target`. Raises BadArchive; what came out until then stays."""
    left = bytes_max
    entries = 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=FRAME_WINDOW_BYTES_MAX)
    try:
        with (
            decompressor.stream_reader(archive, read_across_frames=True) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in tar:
                entries += 1
                if entries > ENTRIES_MAX:
                    raise BadArchive(f"The job's folder holds more than {ENTRIES_MAX} files.")
                left -= _place(tar, member, target, left)
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise BadArchive(f"The job's folder cannot be unpacked: {error}") from error


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, left: int) -> int:
    """Write one entry; returns the bytes it took."""
    name = _inside(member.name)
    if name == ".":
        return 0
    path = target / name
    _make_parents(target, posixpath.dirname(name))
    if member.isdir():
        _make_parents(target, name)
        return 0
    if path.is_symlink() or path.exists():
        raise BadArchive(f"The job's folder holds {name!r} twice.")
    if member.issym():
        # It must stay inside from where it lies; absolute ones would mean other files on every node.
        if posixpath.isabs(member.linkname):
            raise BadArchive(f"The link {name!r} leaves the job's folder.")
        _inside(posixpath.join(posixpath.dirname(name), member.linkname))
        os.symlink(member.linkname, path)
        return 0
    if not member.isreg():
        raise BadArchive(f"{name!r} is neither a file, a folder nor a link.")
    source = tar.extractfile(member)
    assert source is not None
    written = 0
    fd = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755 if member.mode & 0o100 else 0o644
    )
    with os.fdopen(fd, "wb") as file:
        while piece := source.read(COPY_BYTES):
            written += len(piece)
            if written > left:
                raise BadArchive("The job's folder is larger than the disk it asked for.")
            file.write(piece)
    return written


def _inside(name: str) -> str:
    normal = posixpath.normpath(name)
    if posixpath.isabs(name) or normal == ".." or normal.startswith("../") or "\0" in name:
        raise BadArchive(f"{name!r} leaves the job's folder.")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise BadArchive("A name in the job's folder is too long.")
    return normal


def _make_parents(target: Path, folder: str) -> None:
    """Make the folders down to `folder`, refusing to pass through a link that an earlier entry laid."""
    path = target
    for part in [part for part in folder.split("/") if part not in ("", ".")]:
        path = path / part
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise BadArchive(f"The job's folder goes through the link {part!r}.")
        path.mkdir(exist_ok=True)
