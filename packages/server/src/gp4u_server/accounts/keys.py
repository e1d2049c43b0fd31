"""The form of an API key: `gp4u_` + 32 base-62 characters (190 random bits) + 6 of checksum.

The checksum (CRC-32 of the part before it, in base 62) lets a typing error, or a scanner that looks for leaked keys,
be answered without asking the database. It protects nothing; the random part does.
"""

import hashlib
import re
import secrets
import string
import zlib

PREFIX = "gp4u_"
RANDOM_CHARS = 32
CHECKSUM_CHARS = 6
SHOWN_CHARS = len(PREFIX) + 6
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_CHARS + CHECKSUM_CHARS}}}")


def new_key() -> str:
    """A fresh key."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_CHARS))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether `key` has the shape and the checksum of a key; says nothing about whether it opens anything."""
    if not _SHAPE.fullmatch(key):
        return False
    return secrets.compare_digest(_checksum(key[:-CHECKSUM_CHARS]), key[-CHECKSUM_CHARS:])


def hash_of(secret: str) -> bytes:
    """SHA-256, which is what we store. Fast on purpose: the secret is random, so there is nothing to guess."""
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECKSUM_CHARS):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits
