"""The agents of the demo fleet as processes: enrolled once, started, killed for real, started again."""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from gp4u_server.demo.fault_proxy import FaultProxy
from gp4u_server.demo.roster import DemoNode
from gp4u_server.embedded.program import Program, popen_arguments

REVIVE_AFTER_S = 30.0
RESTART_S = (0.5, 1.0, 2.0, 5.0)
HEALTHY_AFTER_S = 20.0
STOP_TIMEOUT_S = 8.0
JOIN_TIMEOUT_S = 60.0
_AGENT = [sys.executable, "-c", "from gp4u_agent.command import main; main()"]
_KNOWN_NO_MORE = 3
"""Exit code of an agent whom the marketplace does not know: its database was replaced."""


class JoinFailed(Exception):
    """A demo node could not enrol; the message is the agent's own."""


@dataclass
class DemoAgent:
    """One demo node's agent, its folder, and its link."""

    node: DemoNode
    state: Path
    log: Path
    server_url: str
    proxy: FaultProxy
    lifeline: int | None
    environment: Mapping[str, str]
    killed_at: datetime | None = None
    unknown: bool = False
    _process: asyncio.subprocess.Process | None = None
    _keeper: "asyncio.Task[None] | None" = None
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _revival: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        """Whether the agent's process is alive."""
        return self._process is not None and self._process.returncode is None

    @property
    def node_id(self) -> str | None:
        """The id that the marketplace gave this node; None before it joined."""
        with suppress(OSError, ValueError, KeyError):
            return str(json.loads((self.state / "node.json").read_text())["node_id"])
        return None

    async def join(self, token: str) -> None:
        """Enrol with a one-time token. Raises JoinFailed."""
        process = await self._spawn(
            "join",
            self.server_url,
            "--state",
            str(self.state),
            "--simulate",
            str(self.node.spec),
            "--allow-unisolated",
            "--json",
            GP4U_ENROLMENT_TOKEN=token,
        )
        try:
            code = await asyncio.wait_for(process.wait(), JOIN_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            code = await process.wait()
        if code != 0:
            raise JoinFailed(f"{self.node.name} could not join (exit code {code}); see {self.log}")

    def start(self) -> None:
        """Keep the agent running from now on."""
        self._wanted.set()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_running(), name=self.node.name)

    async def stop(self) -> None:
        """Ask the agent to end, for good."""
        self._wanted.clear()
        if self._revival is not None:
            self._revival.cancel()
        if self._keeper is not None:
            self._keeper.cancel()
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def kill(self, *, stay_dead: bool) -> None:
        """SIGKILL to the agent, its shims and its jobs, as when a machine loses power. Back half a minute later."""
        self._wanted.clear()
        victims = self._everything()
        self.killed_at = datetime.now(UTC)
        # The agent first: it must not notice that its jobs died.
        for process in victims:
            with suppress(psutil.Error):
                process.kill()
        if self._process is not None:
            await self._process.wait()
        if self._revival is not None:
            self._revival.cancel()
            self._revival = None
        if not stay_dead:
            self._revival = asyncio.get_running_loop().call_later(REVIVE_AFTER_S, self.revive)

    def revive(self) -> None:
        """Start a killed agent again."""
        if self._revival is not None:
            self._revival.cancel()
            self._revival = None
        self.start()

    def job_ids(self) -> list[str]:
        """Jobs whose shim is alive on this node."""
        return [str(spec["job_id"]) for spec, shim in self._placements() if shim is not None]

    def _placements(self) -> list[tuple[dict[str, Any], psutil.Process | None]]:
        found = []
        for folder in sorted((self.state / "placements").glob("*")):
            with suppress(OSError, ValueError, KeyError):
                spec = json.loads((folder / "placement.json").read_text())["spec"]
                found.append((spec, _shim_of(folder)))
        return found

    def _everything(self) -> list[psutil.Process]:
        roots = [shim for _, shim in self._placements() if shim is not None]
        if self._process is not None and self._process.returncode is None:
            with suppress(psutil.Error):
                roots.insert(0, psutil.Process(self._process.pid))
        victims = list(roots)
        for process in roots:
            with suppress(psutil.Error):
                victims += process.children(recursive=True)
        return victims

    async def _keep_running(self) -> None:
        failures = 0
        while True:
            await self._wanted.wait()
            began = time.monotonic()
            process = await self._spawn(
                "run", "--state", str(self.state), "--simulate", str(self.node.spec), "--allow-unisolated"
            )
            self._process = process
            code = await process.wait()
            if code == _KNOWN_NO_MORE:
                shutil.rmtree(self.state, ignore_errors=True)
                self.unknown = True
                return
            failures = 0 if time.monotonic() - began > HEALTHY_AFTER_S else failures + 1
            if self._wanted.is_set():
                await asyncio.sleep(RESTART_S[min(failures, len(RESTART_S)) - 1])

    async def _spawn(self, *arguments: str, **extra: str) -> asyncio.subprocess.Process:
        proxy = f"http://127.0.0.1:{self.proxy.port}"
        environment = {**self.environment, "HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "", **extra}
        if self.lifeline is not None:
            environment["GP4U_LIFELINE_FD"] = str(self.lifeline)
        program = Program(
            f"agent {self.node.name}",
            [*_AGENT, *arguments],
            self.state.parent,
            environment,
            death_signal=signal.SIGKILL,  # its jobs are left to their shims, which hold the lifeline
            pass_fds=[] if self.lifeline is None else [self.lifeline],
        )
        with self.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *program.argv, stdout=output, **popen_arguments(program)
            )


def _shim_of(folder: Path) -> psutil.Process | None:
    """The living shim of a placement's folder; a recycled process id is not taken for it."""
    try:
        identity = json.loads((folder / "shim.pid").read_text())
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        process = psutil.Process(int(identity["pid"]))
        started_ticks = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    same = identity.get("boot_id") == boot and identity.get("started_ticks") == started_ticks
    return process if same and process.status() != psutil.STATUS_ZOMBIE else None


def agent_environment() -> dict[str, str]:
    """What a demo agent may know of our environment: nothing that opens our database, cache, store or secrets."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONUNBUFFERED")
    return {name: os.environ[name] for name in kept if name in os.environ}
