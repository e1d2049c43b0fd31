"""A pack being filled: stored chunks one after another until it is full."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gp4u_protocol.checkpoint.limits import PACK_BYTES_TARGET
from gp4u_protocol.checkpoint.sealing import Buffer, ChunkPlace, JobKeys, Sealer, new_pack_id


@dataclass
class Pack:
    """Chunks on their way to one object of the store. Owned by one thread until it is full."""

    pack_id: bytes
    _cipher: AESGCM
    _parts: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    @classmethod
    def start(cls, keys: JobKeys) -> "Pack":
        """An empty pack under a fresh id."""
        pack_id = new_pack_id()
        return cls(pack_id, keys.pack_cipher(pack_id))

    @property
    def is_full(self) -> bool:
        return self.size_bytes >= PACK_BYTES_TARGET

    def add(self, sealer: Sealer, chunk_id: bytes, plain: Buffer) -> ChunkPlace:
        """Seal `plain` behind what is already there."""
        place, stored = sealer.seal(self._cipher, self.pack_id, self.size_bytes, chunk_id, plain)
        self._parts.append(stored)
        self.size_bytes += len(stored)
        return place

    def content(self) -> bytes:
        """The object's bytes."""
        return b"".join(self._parts)
