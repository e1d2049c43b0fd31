"""The platform on the hosts of a lab: real PostgreSQL and Valkey, and as many api, gateway and controller processes as
asked for, each started with the product's own command and started again only when a test says so.

    cluster = Cluster(lab, apis=["a"], gateways=["a", "b"], controllers=["a", "c"])
    cluster.start()
    cluster.service("gateway@a").kill(); cluster.service("gateway@a").start()

`tree` is the source tree whose product code runs; by default this one. A copy with a planted bug is another.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import redis
from gp4u_server.embedded import postgres, valkey
from gp4u_server.embedded.program import Program
from gp4u_server.supervisor.folder import DataFolder

from tests.rig.history import now
from tests.rig.lab import REPOSITORY, SUBNET, Lab, Running
from tests.rig.store import Store

_GP4U = "from gp4u.cli import main; main()"
API_PORT, GATEWAY_PORT = 8000, 8001
START_TIMEOUT_S = 120.0
Answer = TypeVar("Answer")


def eventually(ask: Callable[[], Answer | None], *, within_s: float, what: str) -> Answer:
    """The first truthy answer. Fails with `what` when there was none in time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.1)


@dataclass
class Service:
    """One server process of the platform, with the way to start it again on the same address."""

    lab: Lab
    host: str
    program: Program
    ready: Callable[[], bool]
    running: Running | None = None

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.alive

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait`, return when it can do its work."""
        assert not self.alive, f"{self.name} runs already"
        self.running = self.lab.run_program(self.host, self.program)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when it can do its work."""

        def is_ready() -> bool:
            assert self.alive, f"{self.name} ended:\n{self.last_words()}"
            return self.ready()

        eventually(is_ready, within_s=START_TIMEOUT_S, what=f"{self.name} is ready\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return "" if self.running is None else self.running.log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """kill -9 of it and what it started."""
        assert self.running is not None
        self.running.kill()

    def pause(self) -> None:
        """SIGSTOP to it and what it started."""
        assert self.running is not None
        self.running.pause()

    def resume(self) -> None:
        """SIGCONT."""
        assert self.running is not None
        self.running.resume()

    def stop(self) -> None:
        """A clean end."""
        if self.running is not None:
            self.running.stop()


@dataclass
class Cluster:
    """The whole platform. The first host of `apis` is the public address. `store_host`: where an S3 store runs; without
    one a folder that all hosts see is the store."""

    lab: Lab
    apis: Sequence[str] = ("a",)
    gateways: Sequence[str] = ("a",)
    controllers: Sequence[str] = ("a",)
    worker: bool = True
    tree: Path = REPOSITORY
    settings: Mapping[str, str] = field(default_factory=dict)
    store_host: str | None = None
    services: dict[str, Service] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data = DataFolder(self.lab.folder / "platform")
        self._store = None if self.store_host is None else Store(self.lab, self.store_host)

    @property
    def url(self) -> str:
        """The marketplace's public address."""
        return f"http://{self.lab.address(self.apis[0])}:{API_PORT}"

    def service(self, name: str) -> Service:
        """`postgres`, `valkey`, `worker`, `beat`, or a kind and its host: `gateway@b`."""
        return self.services[name]

    def python_environment(self) -> dict[str, str]:
        """Ours, with the product's code taken from `tree`."""
        sources = ":".join(str(path) for path in sorted(self.tree.glob("packages/*/src")))
        return {**os.environ, "PYTHONPATH": sources, "PYTHONUNBUFFERED": "1"}

    def environment(self) -> dict[str, str]:
        """What the platform's own processes see."""
        if self._store is not None:
            store = self._store.settings
        else:
            store = {"GP4U_OBJECT_STORE_DIR": str(self.data.objects)}
        return {
            **self.python_environment(),
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "GP4U_PUBLIC_URL": self.url,
            "GP4U_SECRETS_DIR": str(self.data.secrets),
            **store,
            "GP4U_GATEWAY_URLS": ",".join(
                f"ws://{self.lab.address(host)}:{GATEWAY_PORT}" for host in self.gateways
            ),
            "GP4U_API_URLS": ",".join(f"http://{self.lab.address(host)}:{API_PORT}" for host in self.apis),
            "GP4U_DEMO": "true",  # simulated GPUs are listed, and wallets filled without a payment provider
            **self.settings,
        }

    # --- starting -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything on an empty data folder and wait until it answers."""
        self.data.root.mkdir(mode=0o755, parents=True)
        self.data.prepare(free_bytes_min=0)
        self._add_postgres()
        self.service("postgres").start()
        self._postgres.make_database_at(self.lab, self.home)
        self._add_valkey()
        self.service("valkey").start()
        if self._store is not None:
            store = Service(self.lab, self._store.host, self._store.program(), self._store.ready)
            self.services["store"] = store
            store.start()
            self._store.make_bucket()
        self.run(
            sys.executable,
            "-c",
            "import os; from gp4u_server import migrations; migrations.upgrade(os.environ['DATABASE_URL'])",
        )
        for kind, hosts, port in (
            ("api", self.apis, API_PORT),
            ("gateway", self.gateways, GATEWAY_PORT),
            ("controller", self.controllers, None),
        ):
            for host in hosts:
                self._add_process(kind, host, port)
        if self.worker:
            celery = [sys.executable, "-m", "celery", "--app", "gp4u_server.worker.app:app"]
            schedule = [
                "beat",
                "--loglevel=INFO",
                f"--schedule={self.data.run / 'beat-schedule'}",
                "--pidfile=",
            ]
            self._add("worker", self.home, [*celery, "worker", "--loglevel=INFO", "--concurrency=1"])
            self._add("beat", self.home, [*celery, *schedule])
        starting = [service for service in self.services.values() if not service.alive]
        for service in starting:
            service.start(wait=False)
        for service in starting:
            service.wait_until_ready()

    def stop(self) -> None:
        """End everything; the lab would kill it anyway, and PostgreSQL likes to be asked."""
        for service in reversed(list(self.services.values())):
            service.stop()

    @property
    def home(self) -> str:
        """The host of the database and the cache."""
        return self.lab.hosts[0]

    def run(self, *argv: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command of the platform beside the database, to its end."""
        with self.lab.inside(self.home):
            done = subprocess.run(
                argv, capture_output=True, text=True, env=self.environment(), check=False, cwd=self.lab.folder
            )
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done

    def gp4u(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run the `gp4u` command."""
        return self.run(sys.executable, "-c", _GP4U, *arguments, check=check)

    # --- PostgreSQL and Valkey ------------------------------------------------------------------------------

    @property
    def database_url(self) -> str:
        return self._postgres.url_at(self.lab.address(self.home))

    @property
    def redis_url(self) -> str:
        return f"redis://:{self._valkey.password}@{self.lab.address(self.home)}:{self._valkey.port}/0"

    def connect(self) -> "psycopg.Connection[Any]":
        """A connection to the database, from its own host."""
        with self.lab.inside(self.home):
            return psycopg.connect(self.database_url, connect_timeout=10, autocommit=True)

    def wipe_valkey(self) -> None:
        """Forget everything that Valkey holds."""
        with self.lab.inside(self.home):
            client = redis.Redis.from_url(self.redis_url)
            client.flushall()
            client.close()

    def back_up(self) -> float:
        """A cold backup: stop the database, copy its files, start it. Answers the instant from which on it knows nothing."""
        files = self._postgres.prepared.cluster.data
        self.service("postgres").stop()
        at = now()
        subprocess.run(["cp", "--archive", str(files), f"{files}.backup"], check=True)
        self.service("postgres").start()
        return at

    def restore_backup(self) -> None:
        """Put the backup in the database's place and start it."""
        files = self._postgres.prepared.cluster.data
        self.service("postgres").stop()
        shutil.rmtree(files)
        subprocess.run(["mv", f"{files}.backup", str(files)], check=True)
        self.service("postgres").start()

    def _add_postgres(self) -> None:
        system_folder = self.lab.folder / "system"
        system_folder.mkdir(mode=0o755, exist_ok=True)
        programs = postgres.SYSTEM_FOLDER / "programs"  # copied once per machine
        programs.mkdir(mode=0o755, parents=True, exist_ok=True)
        (system_folder / "programs").symlink_to(programs)
        options = postgres.Options(system_folder=system_folder, settings={"listen_addresses": "*"})
        prepared = postgres.prepare(
            self.data.root / "postgres", secrets_dir=self.data.secrets, options=options
        )
        with (prepared.cluster.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {SUBNET}.0/24 scram-sha-256\n")
        self._postgres = LabPostgres(prepared)
        self.services["postgres"] = Service(
            self.lab, self.home, prepared.program, lambda: self._postgres.answers(self.lab, self.home)
        )

    def _add_valkey(self) -> None:
        self._valkey = valkey.prepare(self.data.root / "valkey", secrets_dir=self.data.secrets)
        configuration = self.data.root / "valkey" / "valkey.conf"
        configuration.write_text(configuration.read_text().replace("bind 127.0.0.1", "bind 0.0.0.0"))

        def ready() -> bool:
            with self.lab.inside(self.home):
                return self._valkey.is_ready()

        self.services["valkey"] = Service(self.lab, self.home, self._valkey.program, ready)

    # --- our processes --------------------------------------------------------------------------------------

    def _add_process(self, kind: str, host: str, port: int | None) -> None:
        argv = [sys.executable, "-m", f"gp4u_server.{kind}"]
        if port is None:
            self._add(f"{kind}@{host}", host, argv)
            return
        # Readiness of another host's process is asked on that host, so that no cut link is in the way.
        argv += ["--host", self.lab.address(host), "--port", str(port)]
        url = f"http://{self.lab.address(host)}:{port}/readiness"
        self._add(f"{kind}@{host}", host, argv, lambda: answers(self.lab, host, url))

    def _add(self, name: str, host: str, argv: list[str], ready: Callable[[], bool] = lambda: True) -> None:
        program = Program(name, argv, self.data.run, self.environment())
        self.services[name] = Service(self.lab, host, program, ready)


@dataclass(frozen=True)
class LabPostgres:
    """The embedded PostgreSQL, reached at its host's address in the lab instead of the machine's loopback."""

    prepared: postgres.PreparedPostgres

    def url_at(self, address: str, database: str = "gp4u") -> str:
        return self.prepared.url(database).replace("@127.0.0.1:", f"@{address}:")

    def answers(self, lab: Lab, host: str) -> bool:
        with lab.inside(host):
            return self.prepared.is_ready()

    def make_database_at(self, lab: Lab, host: str) -> None:
        with lab.inside(host):
            self.prepared.make_database()


def answers(lab: Lab, host: str, url: str) -> bool:
    """Whether a GET from a host answers 200."""
    try:
        with lab.inside(host), urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
