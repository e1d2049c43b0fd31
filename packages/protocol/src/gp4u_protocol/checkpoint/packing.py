"""A pack being filled: stored chunks one after another until it is full, sealed straight into the buffer that is sent."""

import threading
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gp4u_protocol.checkpoint.limits import PACK_BYTES_MAX, PACK_BYTES_TARGET
from gp4u_protocol.checkpoint.sealing import TAG_BYTES, Buffer, ChunkPlace, JobKeys, Sealer, new_pack_id


class PackBuffers:
    """Buffers of packs, used again and again: fresh memory costs a page fault every 4 KiB. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[bytearray] = []

    def take(self) -> bytearray:
        """A buffer with room for a whole pack."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return bytearray(PACK_BYTES_MAX)

    def clear(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._free.clear()

    def give_back(self, buffer: bytearray) -> None:
        """Nobody reads this buffer any more."""
        with self._lock:
            self._free.append(buffer)


@dataclass
class Pack:
    """Chunks on their way to one object of the store. Owned by one thread until it is full."""

    pack_id: bytes
    _cipher: AESGCM
    buffer: bytearray = field(repr=False)
    size_bytes: int = 0

    @classmethod
    def start(cls, keys: JobKeys, buffer: bytearray | None = None) -> "Pack":
        """An empty pack under a fresh id, in `buffer` (from PackBuffers) or one of its own."""
        pack_id = new_pack_id()
        return cls(
            pack_id, keys.pack_cipher(pack_id), bytearray(PACK_BYTES_MAX) if buffer is None else buffer
        )

    @property
    def is_full(self) -> bool:
        return self.size_bytes >= PACK_BYTES_TARGET

    def add(self, sealer: Sealer, chunk_id: bytes, plain: Buffer) -> ChunkPlace:
        """Seal `plain` behind what is already there. Raises ValueError when the pack was full."""
        if self.size_bytes + len(plain) + TAG_BYTES > len(self.buffer):
            raise ValueError("the pack is full")
        room = memoryview(self.buffer)[self.size_bytes :]
        place = sealer.seal_into(self._cipher, self.pack_id, self.size_bytes, chunk_id, plain, room)
        self.size_bytes += place.stored_bytes
        return place

    def content(self) -> memoryview:
        """The object's bytes, as long as the buffer is not used again."""
        return memoryview(self.buffer)[: self.size_bytes]
