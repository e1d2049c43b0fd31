"""What checkpoints need from outside: an object store and, from `catalyst.jobs`, the fence."""

from dataclasses import dataclass, field
from typing import Protocol

from gp4u_server.kit.errors import DomainError, Kind


class StoreUnavailable(DomainError):
    """The object store did not answer, or has no room. Nothing is lost: try again."""

    code = "store_unavailable"
    kind = Kind.UNAVAILABLE


@dataclass(frozen=True)
class SignedPut:
    """Where and how to upload one object: PUT the bytes to `url` with exactly these headers.

    `url` is a whole address, or begins with `/` and lies on our own API.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """Objects by key (letters, digits, `. _ - /`). An object is there completely or not at all.

    Every method raises StoreUnavailable when the store does not answer. No signed address deletes.
    """

    async def size_of(self, key: str) -> int | None:
        """Length of an object in bytes; None when there is none."""
        ...

    async def read(self, key: str, *, bytes_max: int) -> bytes | None:
        """A small object; None when there is none or when it is longer than `bytes_max`."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; harmless when there is none."""
        ...

    async def sign_put(self, key: str, *, size_bytes: int, expires_in_s: int) -> SignedPut:
        """An address that takes one object of `size_bytes`, once: a second put of the key answers 412."""
        ...

    async def sign_get(self, key: str, *, expires_in_s: int) -> str:
        """An address that answers the object, or ranges of it."""
        ...
