"""The supervisor itself: take the folder, start everything in order, watch, stop everything in reverse."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from gp4u_server import migrations
from gp4u_server.embedded import postgres, valkey
from gp4u_server.embedded.program import ServerFailed, free_port
from gp4u_server.supervisor import outside, plan
from gp4u_server.supervisor.child import Child, Part
from gp4u_server.supervisor.errors import FolderUnusable, Interrupted, UpFailed
from gp4u_server.supervisor.folder import DataFolder, write_json
from gp4u_server.supervisor.progress import Progress

LOG_CHECK_S = 30.0
RESTARTED = ("controller", "worker", "beat", "gateway", "api")
"""What `gp4u restart` restarts, in this order: first what nobody is connected to."""


@dataclass
class Supervisor:
    """Runs one data folder from `gp4u up` to `gp4u down`."""

    options: plan.UpOptions
    progress: Progress
    folder: DataFolder = field(init=False)
    _children: list[Child] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _restart_asked: asyncio.Event = field(default_factory=asyncio.Event)
    _restart: dict[str, Any] = field(default_factory=lambda: {"number": 0, "now": None, "failure": None})
    _ready_s: float | None = None
    _began: float = field(default_factory=time.monotonic)
    _started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.folder = DataFolder(self.options.data.resolve())

    async def run(self) -> None:
        """Start, serve until SIGINT or SIGTERM, stop. Raises UpFailed when the start does not succeed."""
        folder = self.folder
        folder.inspect()
        folder.lock()  # held until this process ends, however it ends
        lifeline_read, lifeline_write = os.pipe()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._restart_asked.set)
        try:
            starting = asyncio.create_task(self._start_all(lifeline_read))
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                await self._serve()
            else:
                starting.cancel()
                with suppress(asyncio.CancelledError, UpFailed, ServerFailed):
                    await starting
                raise Interrupted("It was stopped before everything ran. What was saved is kept.")
            stopping.cancel()
        except ServerFailed as error:
            raise UpFailed(str(error)) from error
        finally:
            if self._children:
                self.progress.stopping()
            await self._stop_all(lifeline_write)
            os.close(lifeline_read)

    async def _start_all(self, lifeline: int) -> None:
        options, folder = self.options, self.folder
        self.progress.step("Check the data folder and the port")
        folder.prepare()
        marker = folder.read_marker()
        options.check(demo_data=bool(marker.get("demo")))
        plan.check_port(options.host, options.port)
        if outside.names_a_store(os.environ):
            self.progress.step("Connect to the object store of S3_BUCKET")
            await outside.try_store(os.environ)
        database_url = await self._database()
        redis_url = await self._cache()
        self.progress.step("Bring the database's tables up to date")
        await asyncio.to_thread(self._migrate, database_url)
        if options.demo and not marker.get("demo"):
            # Written before the first account exists: from now on this folder never serves a public address.
            folder.write_marker({**marker, "demo": True})
        env = plan.environment(
            options, folder, database_url=database_url, redis_url=redis_url, base=os.environ
        )
        write_json(
            folder.environment, {name: env[name] for name in plan.OWN_SETTINGS if name in env}, mode=0o600
        )
        ports = plan.Ports(
            apis=[free_port() for _ in range(options.apis)],
            gateways=[free_port() for _ in range(options.gateways)],
        )
        self.progress.step("Start API, gateway, controller and public port")
        await self._start(*plan.platform_parts(options, folder, ports, env))
        if options.demo:
            self.progress.step("Enrol the demo fleet: 6 simulated nodes of 4 owners")
            await self._start(plan.demo_part(folder, env, lifeline))
        await self._start(*plan.background_parts(options, folder, env))
        self._ready_s = round(time.monotonic() - self._began, 2)
        self._write_status()
        self.progress.ready(
            {
                "address": options.public_url,
                "demo": options.demo,
                "data": str(folder.root),
                "ready_s": self._ready_s,
                "pid": os.getpid(),
            }
        )

    def _migrate(self, database_url: str) -> None:
        try:
            migrations.upgrade(database_url)
        except migrations.DatabaseIsNewer as error:
            raise FolderUnusable(
                f"The database of {self.folder.root} was made by a newer GP4U (its tables are at {error.revision}, and this "
                f"is GP4U {version('gp4u-server')}). Start it with that version, or choose another folder with --data."
            ) from error
        except migrations.Failed as error:
            raise UpFailed(
                f"The database's tables could not be brought up to date: {error}. The step that failed changed nothing; "
                "starting again goes on there."
            ) from error

    async def _database(self) -> str:
        given = os.environ.get("DATABASE_URL")
        if given:
            self.progress.step("Connect to the database of DATABASE_URL")
            await asyncio.to_thread(outside.try_database, given)
            return given
        self.progress.step("Start the embedded PostgreSQL")
        prepared = await asyncio.to_thread(
            postgres.prepare,
            self.folder.root / "postgres",
            secrets_dir=self.folder.secrets,
            options=postgres.Options(settings={"max_connections": str(self.options.connections_max)}),
        )
        await self._start(plan.postgres_part(prepared))
        await asyncio.to_thread(prepared.make_database)
        return prepared.url()

    async def _cache(self) -> str:
        given = os.environ.get("REDIS_URL")
        if given:
            self.progress.step("Connect to the cache of REDIS_URL")
            await asyncio.to_thread(outside.try_cache, given)
            return given
        self.progress.step("Start the embedded Valkey")
        prepared = await asyncio.to_thread(
            valkey.prepare, self.folder.root / "valkey", secrets_dir=self.folder.secrets
        )
        await self._start(plan.valkey_part(prepared))
        return prepared.url()

    async def _start(self, *parts: Part) -> None:
        children = [Child(part, self.folder.logs, self._write_status) for part in parts]
        self._children += children
        await asyncio.gather(*(child.start() for child in children))

    async def _serve(self) -> None:
        restarting = asyncio.create_task(self._restart_when_asked())
        while not self._stop.is_set():
            for child in self._children:
                child.rotate_log()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LOG_CHECK_S)
        restarting.cancel()
        await asyncio.wait({restarting})

    async def _restart_when_asked(self) -> None:
        """One process after the other, each only when the one before works again: with several of a kind somebody always
        serves. The database, the cache, the public port and the demo's agents stay."""
        while True:
            await self._restart_asked.wait()
            self._restart_asked.clear()
            failure = None
            for kind in RESTARTED:
                for child in [child for child in self._children if plan.kind_of(child.name) == kind]:
                    if failure is None:
                        self._say_restart(now=child.name)
                        try:
                            await child.restart()
                        except UpFailed as error:  # the others go on as they are
                            failure = str(error)
            self._say_restart(number=self._restart["number"] + 1, now=None, failure=failure)

    def _say_restart(self, **changes: Any) -> None:
        self._restart |= changes
        self._write_status()

    async def _stop_all(self, lifeline_write: int) -> None:
        """Agents first, database last. Closing the lifeline ends what the agents detached on purpose."""
        waves = [
            ["fleet"],
            ["caddy"],
            ["api", "gateway", "controller", "worker", "beat"],
            ["valkey"],
            ["postgres"],
        ]
        for wave in waves:
            await asyncio.gather(
                *(child.stop() for child in self._children if plan.kind_of(child.name) in wave)
            )
            if wave == ["fleet"]:
                os.close(lifeline_write)
        with suppress(OSError):
            self._write_status()

    def _write_status(self) -> None:
        self.folder.write_status(
            {
                "address": self.options.public_url,
                "demo": self.options.demo,
                "data": str(self.folder.root),
                "pid": os.getpid(),
                "started_at": self._started_at.isoformat(),
                "ready": self._ready_s is not None and not self._stop.is_set(),
                "ready_s": self._ready_s,
                "restart": self._restart,
                "processes": [
                    {
                        "name": child.name,
                        "state": child.state.value,
                        "pid": child.pid,
                        "restarts": child.restarts,
                        "log": str(child.log),
                    }
                    for child in self._children
                ],
            }
        )
