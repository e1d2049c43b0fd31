"""Signed tokens: JSON Web Tokens with one algorithm (EdDSA over Ed25519), one key, and every claim checked.

The same signer serves people (audience `gp4u-api`) and agents (`gp4u-agent`); the audience keeps one kind from being
used as the other.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from gp4u_server.accounts.errors import InvalidToken, TokenExpired
from gp4u_server.kit.clock import Clock, SystemClock

AUDIENCE_API = "gp4u-api"
AUDIENCE_AGENT = "gp4u-agent"
ISSUER = "gp4u"
SIGNING_KEY_FILE = "signing.pem"
TOKEN_CHARS_MAX = 4096
# EdDSA over Ed25519 under its fully specified name (RFC 9864).
_ALGORITHM = "Ed25519"
_TYPE = "at+jwt"
# Instants are whole seconds in a token, and two of our machines may differ by a little.
_LEEWAY_S = 2


@dataclass(frozen=True)
class TokenSigner:
    """Signs and verifies tokens with the platform's key."""

    key: OKPKey
    mac_key: bytes
    clock: Clock

    @classmethod
    def load(cls, secrets_dir: Path, clock: Clock | None = None) -> "TokenSigner":
        """Read `secrets_dir/signing.pem`. Raises FileNotFoundError or ValueError with the path in it."""
        path = secrets_dir / SIGNING_KEY_FILE
        private_key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(private_key, Ed25519PrivateKey):
            raise ValueError(f"{path} must hold an Ed25519 private key")
        return cls.of(private_key, clock)

    @classmethod
    def of(cls, private_key: Ed25519PrivateKey, clock: Clock | None = None) -> "TokenSigner":
        """A signer with this key."""
        pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        raw = private_key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        # A key of its own for MACs, so that nothing ever uses the signing key in two ways.
        return cls(OKPKey.import_key(pem), _mac(raw, b"gp4u mac key v1"), clock or SystemClock())

    @property
    def key_id(self) -> str:
        """The key's thumbprint (RFC 7638), in every token's header."""
        return self.key.thumbprint()

    def sign(self, subject: str, audience: str, ttl_s: int, claims: Mapping[str, Any] | None = None) -> str:
        """A token for `subject`, good for `audience` and `ttl_s` seconds, with further `claims`."""
        now_s = int(self.clock.now().timestamp())
        registered = {"iss": ISSUER, "sub": subject, "aud": audience, "iat": now_s, "exp": now_s + ttl_s}
        header = {"alg": _ALGORITHM, "typ": _TYPE, "kid": self.key_id}
        return jwt.encode(header, {**(claims or {}), **registered}, self.key, algorithms=[_ALGORITHM])

    def verify(self, token: str, audience: str) -> dict[str, Any]:
        """The claims of a good token. Raises TokenExpired when only its time is over, else InvalidToken."""
        if len(token) > TOKEN_CHARS_MAX:
            raise InvalidToken("The token is not valid.")
        try:
            decoded = jwt.decode(token, self.key, algorithms=[_ALGORITHM])
        except (JoseError, ValueError, TypeError) as error:
            raise InvalidToken("The token is not valid.") from error
        header, claims = decoded.header, decoded.claims
        if header.get("typ") != _TYPE or header.get("kid") != self.key_id:
            raise InvalidToken("The token is not valid.")
        if claims.get("iss") != ISSUER or claims.get("aud") != audience or not _is_id(claims.get("sub")):
            raise InvalidToken("The token is not valid.")
        issued_s, expires_s = claims.get("iat"), claims.get("exp")
        if not _is_seconds(issued_s) or not _is_seconds(expires_s) or "nbf" in claims:
            raise InvalidToken("The token is not valid.")
        now_s = self.clock.now().timestamp()
        if issued_s > now_s + _LEEWAY_S:
            raise InvalidToken("The token is not valid.")
        if expires_s <= now_s:
            raise TokenExpired("The token has expired.")
        return claims

    def mac(self, purpose: str, message: str) -> str:
        """A keyed fingerprint of `message`, good for this `purpose` only (64 hexadecimal characters)."""
        return _mac(self.mac_key, purpose.encode() + b"\0" + message.encode()).hex()


def write_signing_key(secrets_dir: Path) -> Path:
    """Make `signing.pem` readable by its owner alone, unless it is there. Answers its path."""
    path = secrets_dir / SIGNING_KEY_FILE
    secrets_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.touch(mode=0o600)
    scratch.write_bytes(pem)
    try:
        os.link(scratch, path)  # fails when another process was first: then its key counts
    except FileExistsError:
        pass
    finally:
        scratch.unlink()
    return path


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _is_seconds(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
