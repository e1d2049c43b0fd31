"""The folder store's signed addresses, served by our API. With S3 there is nothing here: `provided` lacks the store."""

from typing import Annotated, ClassVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse

from gp4u_server.adapters.objectstore import FolderObjectStore, ObjectExists
from gp4u_server.kit.errors import NotFound

router = APIRouter(prefix="/store", include_in_schema=False)


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
async def get_object(key: str, store: Store, op: str, size: int, expires: int, sig: Signature) -> Response:
    """One object, or the range asked for."""
    path = store.path_for("get" if op == "get" else "", key, size, expires, sig)
    if not path.is_file():
        raise NotFound("There is no such object.")
    return _BigBlocks(path, media_type="application/octet-stream")
