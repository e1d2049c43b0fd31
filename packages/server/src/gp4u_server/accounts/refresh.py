"""The rules of refresh tokens, without a database: what a token that comes back deserves.

A token is used once; its use makes one successor. The answer can get lost, so for a few seconds the same token is
answered with the same successor again, unless that was used already (then somebody did get the answer). Any later
use means that two parties hold one token, and the family ends.

The successor is kept sealed under a key made from the token itself, so only who holds the token can be answered
again, and the table gives away nothing.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FAMILY_LIFETIME = timedelta(days=30)
REPLAY_GRACE = timedelta(seconds=5)
_TOKEN_BYTES = 32
# The key seals exactly one message, so a fixed nonce repeats nothing.
_NONCE = b"gp4u refresh"


class Verdict(StrEnum):
    """What happens to a presented token."""

    ROTATE = "rotate"  # mark it used, make its successor
    REPLAY = "replay"  # answer the successor it already has
    REUSED = "reused"  # end the family
    REFUSED = "refused"  # unknown, expired, or of an ended family


@dataclass(frozen=True)
class Presented:
    """What the tables know of a presented token."""

    family_revoked: bool
    family_expires_at: datetime
    used_at: datetime | None
    successor_used: bool


def judge(token: Presented | None, now: datetime) -> Verdict:
    """What a presented token deserves; None stands for an unknown one."""
    if token is None or token.family_revoked or token.family_expires_at <= now:
        return Verdict.REFUSED
    if token.used_at is None:
        return Verdict.ROTATE
    if now - token.used_at <= REPLAY_GRACE and not token.successor_used:
        return Verdict.REPLAY
    return Verdict.REUSED


def new_refresh_token() -> str:
    """256 random bits, URL-safe."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def seal(successor: str, *, under: str) -> bytes:
    """`successor`, readable only with the token `under`."""
    return AESGCM(_key(under)).encrypt(_NONCE, successor.encode(), None)


def unseal(sealed: bytes, *, under: str) -> str:
    """The successor that `seal` closed. Raises cryptography's InvalidTag for another token."""
    return AESGCM(_key(under)).decrypt(_NONCE, sealed, None).decode()


def _key(token: str) -> bytes:
    return hashlib.sha256(b"gp4u refresh replay v1\0" + token.encode()).digest()
