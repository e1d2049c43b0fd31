"""Where the command keeps who you are: one small file, readable by you alone.

Environment wins over the file: `GP4U_URL` for the marketplace, `GP4U_API_KEY` for a key.
"""

import json
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Credentials:
    """A marketplace and, where signed in, the tokens for it."""

    url: str = DEFAULT_URL
    email: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    api_key: str | None = None


def config_path() -> Path:
    """`$GP4U_CONFIG`, else `gp4u/credentials.json` in the user's configuration folder."""
    explicit = os.environ.get("GP4U_CONFIG")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "gp4u" / "credentials.json"


def load() -> Credentials:
    """The stored credentials, overlaid by the environment. A damaged file counts as signed out."""
    stored = Credentials()
    try:
        document = json.loads(config_path().read_text())
        known = {name: document[name] for name in Credentials.__dataclass_fields__ if name in document}
        stored = Credentials(**known)
    except (OSError, ValueError, TypeError):
        pass
    url = os.environ.get("GP4U_URL")
    if url and url.rstrip("/") != stored.url:
        stored = Credentials(url=url.rstrip("/"))
    key = os.environ.get("GP4U_API_KEY")
    key = key.strip() if key else None  # a key read from a file often ends with its line
    return replace(stored, api_key=key, access_token=None, refresh_token=None) if key else stored


def save(credentials: Credentials) -> None:
    """Write the file so that a crash leaves the old one or the new one, never a half."""
    path = config_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".credentials-")
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(credentials), file, indent=1)
    os.replace(name, path)


def forget() -> None:
    """Remove the file."""
    config_path().unlink(missing_ok=True)
