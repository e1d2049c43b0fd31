"""Keys and sealed chunks: BLAKE3 keyed ids, compression where it pays, AES-256-GCM bound to its place.

Threads may share a JobKeys; a Sealer and an Opener belong to one thread each (their compression contexts are not shared).
"""

import secrets
import struct
from dataclasses import dataclass

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gp4u_protocol.checkpoint.compressing import FLAGS_KNOWN, Compressor, Decompressor, DoesNotExpand
from gp4u_protocol.checkpoint.errors import Damaged
from gp4u_protocol.checkpoint.limits import CHUNK_BYTES_MAX, DATA_KEY_BYTES

PACK_ID_BYTES = 16
CHUNK_ID_BYTES = 32
TAG_BYTES = 16

_CONTEXT_ID = "gp4u 2026 checkpoint v1 chunk id"
_CONTEXT_PACK = "gp4u 2026 checkpoint v1 pack"
_CONTEXT_MANIFEST = "gp4u 2026 checkpoint v1 manifest"

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class JobKeys:
    """Subkeys of one job's data key."""

    job_id: str
    id_key: bytes
    pack_root: bytes
    manifest_root: bytes

    @classmethod
    def derive(cls, job_id: str, data_key: bytes) -> "JobKeys":
        """Raises ValueError unless `data_key` has 32 bytes."""
        if len(data_key) != DATA_KEY_BYTES:
            raise ValueError(f"a data key has {DATA_KEY_BYTES} bytes, not {len(data_key)}")
        return cls(
            job_id=job_id,
            id_key=blake3(data_key, derive_key_context=_CONTEXT_ID).digest(),
            pack_root=blake3(data_key, derive_key_context=_CONTEXT_PACK).digest(),
            manifest_root=blake3(data_key, derive_key_context=_CONTEXT_MANIFEST).digest(),
        )

    def chunk_id(self, plain: Buffer) -> bytes:
        """The content address of a block, meaningless without this job's key."""
        return blake3(plain, key=self.id_key).digest()

    def pack_cipher(self, pack_id: bytes) -> AESGCM:
        """The cipher of one pack."""
        return AESGCM(blake3(pack_id, key=self.pack_root).digest())

    def manifest_cipher(self, salt: bytes) -> AESGCM:
        """The cipher of one manifest."""
        return AESGCM(blake3(salt, key=self.manifest_root).digest())


def new_pack_id() -> bytes:
    """A pack id that was never used: its key, and with it every nonce, is fresh."""
    return secrets.token_bytes(PACK_ID_BYTES)


@dataclass(frozen=True)
class ChunkPlace:
    """Where a chunk lies: which pack, from which byte, how many bytes; and what it becomes when opened."""

    chunk_id: bytes
    pack_id: bytes
    offset: int
    stored_bytes: int
    plain_bytes: int
    flags: int


def _nonce(offset: int) -> bytes:
    return offset.to_bytes(12, "little")


def _associated_data(job_id: str, pack_id: bytes, chunk_id: bytes, plain_bytes: int, flags: int) -> bytes:
    job = job_id.encode()
    return struct.pack("<H", len(job)) + job + pack_id + chunk_id + struct.pack("<IB", plain_bytes, flags)


class Sealer:
    """Turns plain blocks into the stored chunks of a pack."""

    def __init__(self, keys: JobKeys) -> None:
        self._keys = keys
        self._compressor = Compressor()

    def seal_into(
        self, cipher: AESGCM, pack_id: bytes, offset: int, chunk_id: bytes, plain: Buffer, room: memoryview
    ) -> ChunkPlace:
        """Write the stored bytes of a block, which will lie at `offset` of pack `pack_id`, to the head of `room`.

        `room` has at least `len(plain) + TAG_BYTES` bytes. Answers the block's place.
        """
        plain_bytes = len(plain)
        body, flags = self._compressor.shrink(plain)
        associated = _associated_data(self._keys.job_id, pack_id, chunk_id, plain_bytes, flags)
        stored_bytes = len(body) + TAG_BYTES
        cipher.encrypt_into(_nonce(offset), body, associated, room[:stored_bytes])
        return ChunkPlace(chunk_id, pack_id, offset, stored_bytes, plain_bytes, flags)


class Opener:
    """Turns stored chunks back into plain blocks, or says that they are damaged."""

    def __init__(self, keys: JobKeys) -> None:
        self._keys = keys
        self._decompressor = Decompressor()
        self._ciphers: dict[bytes, AESGCM] = {}
        self._room = memoryview(bytearray(CHUNK_BYTES_MAX))

    def open(self, place: ChunkPlace, stored: Buffer) -> bytes:
        """The plain block of `place`, proven to be the one that was saved. Raises Damaged."""
        return bytes(self.open_view(place, stored))

    def open_view(self, place: ChunkPlace, stored: Buffer) -> Buffer:
        """As `open`, without a copy: what it answers holds until the next call."""
        where = f"pack {place.pack_id.hex()} at {place.offset}"
        if len(stored) != place.stored_bytes:
            raise Damaged(where, f"{len(stored)} bytes instead of {place.stored_bytes}")
        if place.flags & ~FLAGS_KNOWN or place.plain_bytes > CHUNK_BYTES_MAX:
            raise Damaged(where, "flags or length that this version does not know")
        cipher = self._ciphers.get(place.pack_id)
        if cipher is None:
            cipher = self._ciphers[place.pack_id] = self._keys.pack_cipher(place.pack_id)
        associated = _associated_data(
            self._keys.job_id, place.pack_id, place.chunk_id, place.plain_bytes, place.flags
        )
        plain: Buffer
        try:
            if len(stored) - TAG_BYTES > CHUNK_BYTES_MAX:
                raise InvalidTag
            plain = self._room[: max(0, len(stored) - TAG_BYTES)]
            cipher.decrypt_into(_nonce(place.offset), stored, associated, plain)
            plain = self._decompressor.expand(plain, place.flags, place.plain_bytes)
        except (InvalidTag, DoesNotExpand) as error:
            raise Damaged(where, "does not open: changed, or not this job's chunk") from error
        if len(plain) != place.plain_bytes or self._keys.chunk_id(plain) != place.chunk_id:
            raise Damaged(where, "content differs from its id")
        return plain
