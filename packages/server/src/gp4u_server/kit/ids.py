"""Identifiers: a typed prefix and a time-ordered random part, for example `job_06fz2v1p6r8x9c4m1n7k5w3t2q`.

The random part is a UUIDv7 (RFC 9562) in Crockford's base 32, lower case, 26 characters: rows made later sort
later, which keeps index inserts local and lets a cursor page by id.
"""

import os
import time
from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A fresh identifier `<prefix>_<26 characters>`; 74 bits of it are random."""
    unix_ms = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10), "big")
    value = (unix_ms & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random_bits >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | random_bits & (1 << 62) - 1
    return f"{prefix}_{_crockford(value)}"


def earliest_id(prefix: str, at: datetime) -> str:
    """The lower bound of every identifier of this prefix that was made at `at` or later."""
    return f"{prefix}_{_crockford((round(at.timestamp() * 1000) & (1 << 48) - 1) << 80)}"


def _crockford(value: int) -> str:
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
