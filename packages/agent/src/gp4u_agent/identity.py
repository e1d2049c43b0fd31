"""Who this node is: its key and what the marketplace told it when it joined. Files of one state folder, 0700."""

import base64
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gp4u_protocol.messages import challenge_bytes, join_bytes

DEFAULT_STATE_DIR = Path("~/.gp4u/agent")


class NotJoined(Exception):
    """This machine has not joined a marketplace yet."""


class KeyUnreadable(Exception):
    """The key file is there but no key can be read from it."""


@dataclass(frozen=True)
class Membership:
    """What `join` answered, and what was learned since.

    Attributes:
        api_url: the address that the machine joined at.
        gateway_urls, api_urls: what the marketplace told last.
        named_gateway_urls, named_api_urls: what a person named with `--gateway` and `--api` when joining.
    """

    node_id: str
    name: str
    api_url: str
    gateway_urls: list[str]
    simulate: str | None = None
    api_urls: list[str] = field(default_factory=list)
    named_gateway_urls: list[str] = field(default_factory=list)
    named_api_urls: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NodeKey:
    """The node's Ed25519 key."""

    private: Ed25519PrivateKey

    @property
    def public_base64(self) -> str:
        raw = self.private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        return base64.b64encode(raw).decode()

    def sign(self, content: bytes) -> str:
        """Base64 of the signature over bytes that say themselves what they are for."""
        return base64.b64encode(self.private.sign(content)).decode()

    def prove_challenge(self, node_id: str, nonce: str) -> str:
        """Base64 of the signature over the gateway's challenge."""
        return base64.b64encode(self.private.sign(challenge_bytes(node_id, nonce))).decode()

    def prove_join(self, token: str) -> str:
        """Base64 of the signature that proves possession when joining."""
        return base64.b64encode(self.private.sign(join_bytes(token, self.public_base64))).decode()


@dataclass(frozen=True)
class StateDir:
    """The agent's folder."""

    path: Path

    @property
    def placements(self) -> Path:
        return self.path / "placements"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def standbys(self) -> Path:
        return self.path / "standbys"

    @property
    def _key_file(self) -> Path:
        return self.path / "key.pem"

    @property
    def _membership_file(self) -> Path:
        return self.path / "node.json"

    def create(self) -> None:
        """Make the folder for its owner alone. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.placements.mkdir(exist_ok=True, mode=0o700)
        self.cache.mkdir(exist_ok=True, mode=0o700)
        self.standbys.mkdir(exist_ok=True, mode=0o700)

    def load_or_create_key(self) -> NodeKey:
        """The key, made at the first call. Raises KeyUnreadable."""
        if self._key_file.exists():
            return self.load_key()
        key = Ed25519PrivateKey.generate()
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        fd = os.open(self._key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return NodeKey(key)

    def load_key(self) -> NodeKey:
        """The key. Raises NotJoined, KeyUnreadable."""
        try:
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        except FileNotFoundError:
            raise NotJoined(f"No key in {self.path}.") from None
        except (ValueError, TypeError, OSError) as error:
            raise KeyUnreadable(f"{self._key_file} cannot be read: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnreadable(f"{self._key_file} is no Ed25519 key.")
        return NodeKey(key)

    def load_membership(self) -> Membership:
        """Raises NotJoined."""
        try:
            return Membership(**json.loads(self._membership_file.read_text()))
        except (OSError, ValueError, TypeError):
            raise NotJoined(
                f"{self.path} holds no node: run `gp4u agent join URL --token T` first."
            ) from None

    def save_membership(self, membership: Membership) -> None:
        """Replace what is stored."""
        temporary = self._membership_file.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(membership), indent=2))
        os.chmod(temporary, 0o600)
        os.replace(temporary, self._membership_file)
