"""The folder store's signed addresses, served by our API. With S3 there is nothing here: `provided` lacks the store."""

import asyncio
import os
import re
from pathlib import Path
from typing import Annotated, ClassVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse

from gp4u_server.adapters.objectstore import FolderObjectStore, ObjectExists
from gp4u_server.kit.errors import NotFound

router = APIRouter(prefix="/store", include_in_schema=False)


_RANGE = re.compile(r"^bytes=(\d{1,18})-(\d{1,18})$")
_ONE_READ_BYTES_MAX = 8 << 20


class _BigBlocks(FileResponse):
    """64 KiB blocks cost more in thread switches than in reading."""

    chunk_size: ClassVar[int] = 1 << 20  # type: ignore[misc]


def _folder_store(request: Request) -> FolderObjectStore:
    store: FolderObjectStore | None = request.app.state.provided.get(FolderObjectStore)
    if store is None:
        raise NotFound("This platform keeps its objects elsewhere.")
    return store


Store = Annotated[FolderObjectStore, Depends(_folder_store)]
Signature = Annotated[str, Query(max_length=64)]


@router.put("/{key:path}", status_code=201)
async def put_object(
    key: str, request: Request, store: Store, op: str, size: int, expires: int, sig: Signature
) -> Response:
    """Take one object. 412 when it exists."""
    destination = store.path_for("put" if op == "put" else "", key, size, expires, sig)
    try:
        await store.write(destination, size, request.stream())
    except ObjectExists:
        return Response(status_code=412)
    return Response(status_code=201)


@router.get("/{key:path}")
async def get_object(
    key: str, request: Request, store: Store, op: str, size: int, expires: int, sig: Signature
) -> Response:
    """One object, or the range asked for."""
    path = store.path_for("get" if op == "get" else "", key, size, expires, sig)
    if not await asyncio.to_thread(path.is_file):
        raise NotFound("There is no such object.")
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    if wanted is not None and 0 <= int(wanted[2]) - int(wanted[1]) < _ONE_READ_BYTES_MAX:
        # What a restore asks for: one read in one thread, where a streamed file takes a thread switch a block.
        return await asyncio.to_thread(_one_range, path, int(wanted[1]), int(wanted[2]) + 1)
    return _BigBlocks(path, media_type="application/octet-stream")


def _one_range(path: Path, start: int, end: int) -> Response:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        total = os.fstat(descriptor).st_size
        content = os.pread(descriptor, max(0, min(end, total) - start), start)
    finally:
        os.close(descriptor)
    if start >= total:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{total}"})
    headers = {"Content-Range": f"bytes {start}-{start + len(content) - 1}/{total}", "Accept-Ranges": "bytes"}
    return Response(content, status_code=206, headers=headers, media_type="application/octet-stream")
