"""What `gp4u up` starts, in which order, with which environment. No process is started here."""

import asyncio
import ipaddress
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gp4u_server.embedded.postgres import PreparedPostgres
from gp4u_server.embedded.program import Program
from gp4u_server.embedded.valkey import PreparedValkey
from gp4u_server.supervisor import proxy
from gp4u_server.supervisor.child import Part
from gp4u_server.supervisor.errors import OptionsConflict, PortTaken
from gp4u_server.supervisor.folder import DataFolder

OWN_SETTINGS = ("DATABASE_URL", "REDIS_URL", "GP4U_PUBLIC_URL", "GP4U_SECRETS_DIR", "GP4U_OBJECT_STORE_DIR")

CONNECTIONS_EACH = 24
"""A process holds a pool of up to 20, a connection that listens, and a gateway one for its right to renew leases."""
CONNECTIONS_SPARE = 30
CONNECTIONS_MIN = 200
COUNTED = ("apis", "gateways", "controllers", "workers")
PROCESSES_MAX = 16
"""Of one kind under one supervisor."""

# What a demo agent must not see: it stands for a stranger's machine.
_SERVER_SECRETS = ("DATABASE_URL", "GP4U_DATABASE_URL", "REDIS_URL", "GP4U_REDIS_URL", "GP4U_SECRETS_DIR")


@dataclass(frozen=True)
class UpOptions:
    """The options of `gp4u up`."""

    host: str
    port: int
    data: Path
    demo: bool
    apis: int = 1
    gateways: int = 1
    controllers: int = 1
    workers: int = 1

    @property
    def connections_max(self) -> int:
        """What our processes may ask of PostgreSQL at once, and some for people."""
        ours = self.apis + self.gateways + self.controllers + self.workers
        return max(CONNECTIONS_MIN, ours * CONNECTIONS_EACH + CONNECTIONS_SPARE)

    def check(self, *, demo_data: bool) -> None:
        """Raises OptionsConflict for demo accounts, whose password everybody knows, on a public address."""
        if is_loopback(self.host) or not (self.demo or demo_data):
            return
        if self.demo:
            raise OptionsConflict(
                f"--demo makes accounts whose password everybody knows, so it only serves this machine, and "
                f"{self.host} can be reached from others. Leave out --host, or leave out --demo."
            )
        raise OptionsConflict(
            f"The data folder {self.data} holds demo accounts, whose password everybody knows, and {self.host} can be "
            "reached from other machines. Choose a fresh folder with --data for a public marketplace."
        )

    @property
    def public_url(self) -> str:
        """The address that people and agents use."""
        given = os.environ.get("GP4U_PUBLIC_URL")
        if given:
            return given.rstrip("/")
        host = self.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = socket.getfqdn()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True)
class Ports:
    """Loopback ports behind the public one; the same for as long as the supervisor lives."""

    apis: Sequence[int]
    gateways: Sequence[int]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_port(host: str, port: int) -> None:
    """Raises PortTaken when somebody listens there, OptionsConflict when we may not use the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise OptionsConflict(
                f"Port {port} is reserved for the system administrator. Choose one above 1023 with --port."
            ) from None
        except socket.gaierror:
            raise OptionsConflict(f"--host {host} is not an address of this machine.") from None
        except OSError as error:
            raise PortTaken(
                f"Port {port} on {host} cannot be used: {(error.strerror or str(error)).lower()}. Another program, "
                f"perhaps another GP4U, listens there. Stop it, or choose another one: gp4u up --port {port + 1}"
            ) from None


def environment(
    options: UpOptions, folder: DataFolder, *, database_url: str, redis_url: str, base: Mapping[str, str]
) -> dict[str, str]:
    """The environment of our own processes (see gp4u_server.settings)."""
    own = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "GP4U_PUBLIC_URL": options.public_url,
        "GP4U_SECRETS_DIR": str(folder.secrets),
        "GP4U_DEMO": "true" if options.demo else "false",
        "GP4U_DEMO_SOCKET": str(folder.demo_socket),
        "PYTHONUNBUFFERED": "1",
    }
    if not base.get("S3_ENDPOINT"):
        own.setdefault("GP4U_OBJECT_STORE_DIR", base.get("GP4U_OBJECT_STORE_DIR", str(folder.objects)))
    return {**base, **own}


def agent_environment(base: Mapping[str, str]) -> dict[str, str]:
    """`base` without what would let a job on a demo node reach our database, cache or store."""
    return {
        name: value
        for name, value in base.items()
        if name not in _SERVER_SECRETS and not name.startswith("S3_")
    }


def platform_parts(
    options: UpOptions, folder: DataFolder, ports: Ports, env: Mapping[str, str]
) -> list[Part]:
    """What people and agents talk to: api, gateway, controller and the public port before them."""
    proxy_file = folder.run / "caddy.json"
    proxy_file.write_text(
        json.dumps(
            proxy.configuration(
                host=options.host,
                port=options.port,
                api_ports=ports.apis,
                gateway_ports=ports.gateways,
                storage=folder.root / "caddy",
            )
        )
    )
    caddy = Program(
        "caddy",
        [str(proxy.program_path()), "run", "--config", str(proxy_file)],
        folder.run,
        agent_environment(env) | {"XDG_CONFIG_HOME": str(folder.run), "XDG_DATA_HOME": str(folder.run)},
    )
    listen = ["--host", "127.0.0.1", "--port"]
    apis = [
        Part(
            _ours(folder, env, name, "gp4u_server.api", *listen, str(port)),
            "API",
            answers(f"http://127.0.0.1:{port}/readiness"),
        )
        for name, port in zip(names("api", options.apis), ports.apis, strict=True)
    ]
    gateways = [
        Part(
            _ours(folder, env, name, "gp4u_server.gateway", *listen, str(port)),
            "gateway",
            answers(f"http://127.0.0.1:{port}/readiness"),
        )
        for name, port in zip(names("gateway", options.gateways), ports.gateways, strict=True)
    ]
    return [
        *apis,
        *gateways,
        *(
            Part(_ours(folder, env, name, "gp4u_server.controller"), "controller")
            for name in names("controller", options.controllers)
        ),
        Part(caddy, "public port", answers(_reachable(options) + "/health")),
    ]


def names(kind: str, count: int) -> list[str]:
    """The names of `count` processes of one kind: api, api-2, api-3."""
    return [kind, *(f"{kind}-{number}" for number in range(2, count + 1))]


def kind_of(name: str) -> str:
    """The other way round."""
    return name.partition("-")[0]


def background_parts(options: UpOptions, folder: DataFolder, env: Mapping[str, str]) -> list[Part]:
    """Effects only, so nobody waits for them: they start last. One beat is enough: it only says what time it is."""
    celery = ["celery", "--app", "gp4u_server.worker.app:app"]
    schedule = ["beat", "--loglevel=INFO", f"--schedule={folder.run / 'beat-schedule'}", "--pidfile="]
    work = ["worker", "--loglevel=INFO", "--concurrency=1"]
    return [
        *(
            Part(_ours(folder, env, name, *celery, *work, f"--hostname={name}@%h"), "worker")
            for name in names("worker", options.workers)
        ),
        Part(_ours(folder, env, "beat", *celery, *schedule), "beat"),
    ]


def _ours(folder: DataFolder, env: Mapping[str, str], name: str, *arguments: str) -> Program:
    return Program(name, [sys.executable, "-m", *arguments], folder.run, env)


def demo_part(folder: DataFolder, env: Mapping[str, str], lifeline: int) -> Part:
    """The demo fleet's own process; it hands the lifeline on to its agents."""
    program = Program(
        "fleet",
        [sys.executable, "-m", "gp4u_server.demo.fleet", "--data", str(folder.root)],
        folder.run,
        {**env, "GP4U_LIFELINE_FD": str(lifeline)},
        death_signal=signal.SIGKILL,
        pass_fds=[lifeline],
    )
    return Part(program, "demo fleet", fleet_is_ready(folder.demo_socket), ready_timeout_s=90.0)


def postgres_part(prepared: PreparedPostgres) -> Part:
    """The embedded database."""

    async def ready() -> bool:
        return await asyncio.to_thread(prepared.is_ready)

    return Part(prepared.program, "database", ready, stop_timeout_s=30.0)


def valkey_part(prepared: PreparedValkey) -> Part:
    """The embedded cache and broker."""

    async def ready() -> bool:
        return await asyncio.to_thread(prepared.is_ready)

    return Part(prepared.program, "cache", ready, ready_timeout_s=20.0)


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Whether a GET of `url` answers 200."""

    def get() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    async def ready() -> bool:
        return await asyncio.to_thread(get)

    return ready


def fleet_is_ready(path: Path) -> Callable[[], Awaitable[bool]]:
    """Whether the fleet says on its socket that every node is enrolled, online and listed."""

    async def ready() -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
        except OSError:
            return False
        try:
            writer.write(b'{"do": "ready"}\n')
            answer = json.loads(await asyncio.wait_for(reader.readline(), 2))
            return bool(answer.get("ready"))
        except (OSError, ValueError, TimeoutError):
            return False
        finally:
            writer.close()

    return ready


def _reachable(options: UpOptions) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{options.port}"
