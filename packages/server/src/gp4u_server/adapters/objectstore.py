"""The object store behind `catalyst.checkpoints.ports.ObjectStore`: S3, or a folder whose addresses our API serves.

Both go through obstore. Signed addresses: S3's own presigning, or an HMAC over operation, key, length and expiry for the folder.
"""

import asyncio
import hmac
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

import obstore
from blake3 import blake3
from obstore import exceptions
from obstore.store import LocalStore, S3Store

from gp4u_server.catalyst.checkpoints.ports import SignedPut, StoreUnavailable
from gp4u_server.kit.errors import DomainError, Kind
from gp4u_server.settings import Settings

if TYPE_CHECKING:
    from obstore.store import S3Config

FOLDER_STORE_PATH = "/api/v1/store"
_KEY = re.compile(r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$")
_SIGNING_CONTEXT = "gp4u 2026 folder store addresses v1"
_WRITE_BYTES = 1 << 20
_PARTS_A_WRITE_MAX = 512
_CREATE_ONLY = {"If-None-Match": "*"}
_RETRY_TIMEOUT = timedelta(seconds=20)

Answer = TypeVar("Answer")


class AddressInvalid(DomainError):
    """The signed address was changed, is over, or is for something else."""

    code = "address_invalid"
    kind = Kind.FORBIDDEN


class ObjectExists(DomainError):
    """The object is already there; objects are never overwritten."""

    code = "object_exists"
    kind = Kind.CONFLICT


class UploadTorn(DomainError):
    """The body was shorter or longer than announced; nothing was kept."""

    code = "upload_torn"
    kind = Kind.INVALID


def check_key(key: str) -> str:
    """`key` itself. Raises ValueError for a key that could name anything outside the store."""
    if len(key) > 512 or not _KEY.fullmatch(key):
        raise ValueError(f"not an object key: {key[:80]!r}")
    return key


async def _answered(call: Callable[[], Awaitable[Answer]]) -> Answer | None:
    """What the store answers; None for a missing object."""
    try:
        return await call()
    except (FileNotFoundError, exceptions.NotFoundError):
        return None
    except (exceptions.BaseError, OSError) as error:
        raise StoreUnavailable("The object store does not answer; nothing was lost, try again.") from error


@dataclass(frozen=True)
class _ThroughObstore:
    """What both adapters share: heads, small reads, deletions."""

    store: LocalStore | S3Store

    async def size_of(self, key: str) -> int | None:
        found = await _answered(lambda: obstore.head_async(self.store, check_key(key)))
        return None if found is None else int(found["size"])

    async def read(self, key: str, *, bytes_max: int) -> bytes | None:
        found = await _answered(lambda: obstore.get_async(self.store, check_key(key)))
        if found is None or found.meta["size"] > bytes_max:
            return None
        content = await _answered(found.bytes_async)
        return None if content is None else bytes(content)

    async def overwrite(self, key: str, content: bytes) -> None:
        """A small object of the platform's own, whatever was there before; what jobs store is never overwritten."""
        await _answered(lambda: obstore.put_async(self.store, check_key(key), content))

    async def delete(self, key: str) -> None:
        await _answered(lambda: obstore.delete_async(self.store, check_key(key)))


@dataclass(frozen=True)
class S3ObjectStore(_ThroughObstore):
    """A bucket. The store needs conditional puts (`If-None-Match`), as S3 and its peers have them."""

    store: S3Store

    @classmethod
    def connect(
        cls, *, endpoint: str | None, bucket: str, region: str, access_key_id: str | None, secret: str | None
    ) -> "S3ObjectStore":
        """No connection is made before the first use."""
        config: S3Config = {"region": region, "virtual_hosted_style_request": endpoint is None}
        if endpoint:
            config["endpoint"] = endpoint
        if access_key_id and secret:  # otherwise obstore looks where every S3 client looks
            config["access_key_id"] = access_key_id
            config["secret_access_key"] = secret
        return cls(
            S3Store(
                bucket,
                config=config,
                client_options={
                    "allow_http": bool(endpoint and endpoint.startswith("http://")),
                    "timeout": "20s",
                },
                retry_config={"max_retries": 3, "retry_timeout": _RETRY_TIMEOUT},
            )
        )

    async def sign_put(self, key: str, *, size_bytes: int, expires_in_s: int) -> SignedPut:
        url = await obstore.sign_async(self.store, "PUT", check_key(key), timedelta(seconds=expires_in_s))
        return SignedPut(url, dict(_CREATE_ONLY))

    async def sign_get(self, key: str, *, expires_in_s: int) -> str:
        return await obstore.sign_async(self.store, "GET", check_key(key), timedelta(seconds=expires_in_s))


@dataclass(frozen=True)
class FolderObjectStore(_ThroughObstore):
    """A folder, for one machine. `objects/` holds what is complete, `incoming/` what is on its way.

    `adapters.objectstore_web` serves its addresses.
    """

    store: LocalStore
    root: Path
    _signing_key: bytes = field(repr=False)

    @classmethod
    def open(cls, root: Path, master_key: bytes) -> "FolderObjectStore":
        """Open or create the store under `root`."""
        for part in ("objects", "incoming"):
            (root / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        signing_key = blake3(master_key, derive_key_context=_SIGNING_CONTEXT).digest()
        return cls(LocalStore(root / "objects"), root, signing_key)

    async def sign_put(self, key: str, *, size_bytes: int, expires_in_s: int) -> SignedPut:
        return SignedPut(self._address("put", key, size_bytes, expires_in_s), dict(_CREATE_ONLY))

    async def sign_get(self, key: str, *, expires_in_s: int) -> str:
        return self._address("get", key, 0, expires_in_s)

    def path_for(self, operation: str, key: str, size_bytes: int, expires: int, signature: str) -> Path:
        """Where the object of a signed address lies. Raises AddressInvalid unless every part is as it was signed."""
        expected = self._signature(operation, key, size_bytes, expires)
        if not hmac.compare_digest(expected, signature):
            raise AddressInvalid("This address was changed or is for something else; ask for a new one.")
        if expires < time.time():
            raise AddressInvalid("This address has expired; ask for a new one.")
        return self.root / "objects" / check_key(key)

    async def write(self, destination: Path, size_bytes: int, body: AsyncIterator[bytes]) -> None:
        """Create one object: complete and on disk, or not at all. Raises ObjectExists, UploadTorn, StoreUnavailable."""
        if await asyncio.to_thread(destination.exists):
            raise ObjectExists("The object is already stored.")
        temporary = self.root / "incoming" / secrets.token_hex(16)
        try:
            descriptor = await asyncio.to_thread(
                os.open, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
            )
            try:
                await _copy(body, descriptor, size_bytes)
                await asyncio.to_thread(os.fdatasync, descriptor)
            finally:
                os.close(descriptor)
            await asyncio.to_thread(_link_into_place, temporary, destination)
        except FileExistsError as error:
            raise ObjectExists("The object is already stored.") from error
        except OSError as error:
            raise StoreUnavailable(f"The store cannot take the object: {error.strerror}.") from error
        finally:
            temporary.unlink(missing_ok=True)

    def _address(self, operation: str, key: str, size_bytes: int, expires_in_s: int) -> str:
        expires = int(time.time()) + expires_in_s
        query = {
            "op": operation,
            "size": size_bytes,
            "expires": expires,
            "sig": self._signature(operation, check_key(key), size_bytes, expires),
        }
        return f"{FOLDER_STORE_PATH}/{key}?{urlencode(query)}"

    def _signature(self, operation: str, key: str, size_bytes: int, expires: int) -> str:
        message = f"{operation}\n{key}\n{size_bytes}\n{expires}".encode()
        return hmac.new(self._signing_key, message, "sha256").hexdigest()


async def _copy(body: AsyncIterator[bytes], descriptor: int, size_bytes: int) -> None:
    received = waiting_bytes = 0
    waiting: list[bytes] = []
    async for part in body:
        received += len(part)
        waiting_bytes += len(part)
        if received > size_bytes:
            raise UploadTorn(f"The body is longer than the {size_bytes} bytes announced.")
        waiting.append(part)
        if waiting_bytes >= _WRITE_BYTES or len(waiting) >= _PARTS_A_WRITE_MAX:
            await asyncio.to_thread(_write_all, descriptor, waiting)
            waiting, waiting_bytes = [], 0
    await asyncio.to_thread(_write_all, descriptor, waiting)
    if received != size_bytes:
        raise UploadTorn(f"The body has {received} bytes, {size_bytes} were announced.")


def _write_all(descriptor: int, parts: Sequence[bytes]) -> None:
    left = [memoryview(part) for part in parts if part]
    while left:
        written = os.writev(descriptor, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


def _link_into_place(temporary: Path, destination: Path) -> None:
    _make_folder(destination.parent)
    # link, not rename: it fails when the object exists, so the first complete upload stays.
    os.link(temporary, destination)
    _sync_folder(destination.parent)


def _make_folder(folder: Path) -> None:
    """Make `folder` and its parents so that they outlive a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=0o700)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_object_store(settings: Settings) -> S3ObjectStore | FolderObjectStore:
    """The store that the settings name: S3 when a bucket is set, otherwise the folder. Raises ValueError for neither."""
    if settings.s3_bucket:
        secret = settings.s3_secret_access_key
        return S3ObjectStore.connect(
            endpoint=settings.s3_endpoint,
            bucket=settings.s3_bucket,
            region=settings.s3_region,
            access_key_id=settings.s3_access_key_id,
            secret=secret.get_secret_value() if secret else None,
        )
    if settings.object_store_dir is None:
        raise ValueError("set S3_BUCKET or GP4U_OBJECT_STORE_DIR: there is nowhere to keep checkpoints")
    return FolderObjectStore.open(
        settings.object_store_dir, (settings.secrets_dir / "master.key").read_bytes()
    )
