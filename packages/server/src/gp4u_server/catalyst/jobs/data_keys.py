"""A key per job for its checkpoints, kept wrapped: the database alone does not open a checkpoint."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DATA_KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True)
class DataKeys:
    """Makes and wraps data keys under the platform's master key (AES-256-GCM, bound to the job's id)."""

    master_key: bytes = field(repr=False)

    @classmethod
    def from_folder(cls, secrets_dir: Path) -> "DataKeys":
        """Read `master.key` (32 raw bytes). Raises ValueError for another size, OSError when it is missing."""
        key = (secrets_dir / "master.key").read_bytes()
        if len(key) != DATA_KEY_BYTES:
            raise ValueError(f"{secrets_dir / 'master.key'} must hold exactly {DATA_KEY_BYTES} bytes")
        return cls(key)

    def create(self, job_id: str) -> bytes:
        """A fresh data key, wrapped for the job's row."""
        nonce = os.urandom(_NONCE_BYTES)
        key = os.urandom(DATA_KEY_BYTES)
        return nonce + AESGCM(self.master_key).encrypt(nonce, key, job_id.encode())

    def unwrap(self, job_id: str, wrapped: bytes) -> bytes:
        """The data key itself. Raises cryptography.exceptions.InvalidTag when the row was tampered with."""
        nonce, sealed = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        return AESGCM(self.master_key).decrypt(nonce, sealed, job_id.encode())
