"""The bytes of a job's state at each step: a function of the job's seed and the step, so that anyone can recompute them.

Shared by the job, which runs on a node and has only the standard library, and by the checker.
"""

import hashlib

HEADER_BYTES = 16


def state(seed: str, step: int, size_bytes: int) -> bytes:
    """The whole of `state.bin` after `step` steps. It begins with the step, in decimal."""
    header = str(step).encode().ljust(HEADER_BYTES)
    return header + hashlib.shake_128(f"{seed}/{step}".encode()).digest(size_bytes)


def ballast(seed: str, number: int, size_bytes: int) -> bytes:
    """A file that never changes."""
    return hashlib.shake_128(f"{seed}/ballast/{number}".encode()).digest(size_bytes)


def step_of(content: bytes) -> int:
    """Which step the bytes say they are."""
    return int(content[:HEADER_BYTES])
