"""Where browsers and agents find this marketplace."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

from gp4u_protocol.messages import AGENT_SOCKET_PATH

_SOCKET_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


@dataclass(frozen=True)
class PublicAddress:
    """The one public address, and those of single gateways and api processes where agents may reach them directly.

    Attributes:
        url: the address that browsers and agents use, without a slash at its end.
        gateways: WebSocket addresses of single gateways; empty: all of them are behind `url`.
        apis: addresses that serve /api/v1 beside `url`; empty: none.
    """

    url: str
    gateways: tuple[str, ...] = ()
    apis: tuple[str, ...] = ()

    @classmethod
    def of(cls, public_url: str, gateways: Iterable[str], apis: Iterable[str]) -> "PublicAddress":
        """From the settings. Raises ValueError for what is no address."""
        return cls(
            public_url.rstrip("/"),
            tuple(dict.fromkeys(gateway_url(each) for each in gateways)),
            tuple(dict.fromkeys(_api_url(each) for each in apis)),
        )

    @property
    def gateway_urls(self) -> list[str]:
        """Where agents dial: the gateways named one by one, else the public address."""
        return list(self.gateways) or [gateway_url(self.url)]


def gateway_url(url: str) -> str:
    """The whole WebSocket address of a gateway that is named by its http or WebSocket address, with or without its path.
    Raises ValueError."""
    parts = _parts(url)
    path = parts.path.rstrip("/")
    if not path.endswith(AGENT_SOCKET_PATH):
        path += AGENT_SOCKET_PATH
    return urlunsplit((_SOCKET_SCHEMES[parts.scheme], parts.netloc, path, "", ""))


def _api_url(url: str) -> str:
    parts = _parts(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{url!r} is no http address")
    return url.strip().rstrip("/")


def _parts(url: str) -> SplitResult:
    parts = urlsplit(url.strip())
    if parts.scheme not in _SOCKET_SCHEMES or not parts.hostname or parts.port == 0:
        raise ValueError(f"{url!r} is no address")
    return parts
