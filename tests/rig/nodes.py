"""Rented machines in the lab: real agents with invented GPUs, whose shims, jobs and checkpoints are real."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from gp4u_server.embedded.program import Program

from tests.rig.cluster import Cluster, eventually
from tests.rig.lab import Lab, Running

GPU_MODEL, GPU_MEMORY_GB = "RTX_4090", 24
PRICE_MICROS = 400_000
_AGENT = [sys.executable, "-c", "from gp4u_agent.command import main; main()"]
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV")


@dataclass
class Placement:
    """One placement's folder on a node, and its processes."""

    folder: Path
    spec: dict[str, Any]

    @property
    def job_id(self) -> str:
        return str(self.spec["job_id"])

    @property
    def epoch(self) -> int:
        return int(self.spec["epoch"])

    def shim(self) -> psutil.Process | None:
        """The living shim; a recycled process id is not taken for it."""
        try:
            identity = json.loads((self.folder / "shim.pid").read_text())
            stat = Path(f"/proc/{identity['pid']}/stat").read_text().rpartition(")")[2].split()
            process = psutil.Process(int(identity["pid"]))
        except (OSError, ValueError, KeyError, psutil.Error):
            return None
        return process if int(stat[19]) == identity["started_ticks"] and stat[0] != "Z" else None

    def job_processes(self) -> list[psutil.Process]:
        """What runs below the shim."""
        shim = self.shim()
        with suppress(psutil.Error):
            return [] if shim is None else shim.children(recursive=True)
        return []


@dataclass
class Node:
    """One agent on a host. `state` is its folder, which may be a disk of its own."""

    lab: Lab
    cluster: Cluster
    host: str
    name: str
    gpus: int = 1
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    running: Running | None = None
    node_id: str = ""

    @property
    def folder(self) -> Path:
        """Where this node's disk is."""
        return self.lab.folder / "nodes" / self.name

    @property
    def state(self) -> Path:
        """The agent's own folder."""
        return self.folder / "state"

    @property
    def spec(self) -> Path:
        return self.folder / "gpus.yaml"

    def environment(self) -> dict[str, str]:
        """What an agent may know: nothing that opens our database, cache or store."""
        ours = self.cluster.python_environment()
        kept = {name: ours[name] for name in (*_KEPT, "PYTHONPATH", "PYTHONUNBUFFERED") if name in ours}
        return {**kept, "GP4U_LIFELINE_FD": str(self.lab.lifeline), **self.extra_environment}

    def join(self, token: str) -> None:
        """Enrol with a one-time token; the platform names its gateways in the answer."""
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        device = {"model": GPU_MODEL, "vram_gb": GPU_MEMORY_GB, "count": self.gpus}
        self.spec.write_text(yaml.safe_dump({"name": self.name, "devices": [device]}))
        with self.lab.inside(self.host):
            done = subprocess.run(
                [*_AGENT, "join", self.cluster.url, *self._options(), "--json"],
                env={**self.environment(), "GP4U_ENROLMENT_TOKEN": token},
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
            )
        assert done.returncode == 0, f"{self.name} could not join: {done.stdout}{done.stderr}"
        self.node_id = json.loads((self.state / "node.json").read_text())["node_id"]

    def start(self) -> None:
        """Start the agent."""
        assert not self.alive, f"{self.name} runs already"
        program = Program(
            f"agent {self.name}",
            [*_AGENT, "run", *self._options()],
            self.folder,
            self.environment(),
            death_signal=signal.SIGKILL,  # its jobs are left to their shims, which hold the lifeline
            pass_fds=[self.lab.lifeline],
        )
        self.running = self.lab.run_program(self.host, program)

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.alive

    def placements(self) -> list[Placement]:
        """What lies on its disk."""
        found = []
        for folder in sorted((self.state / "placements").glob("*")):
            with suppress(OSError, ValueError, KeyError):
                found.append(Placement(folder, json.loads((folder / "placement.json").read_text())["spec"]))
        return found

    def placement_of(self, job_id: str) -> Placement | None:
        """The newest placement of a job here."""
        mine = [placement for placement in self.placements() if placement.job_id == job_id]
        return max(mine, key=lambda placement: placement.epoch, default=None)

    def everything(self) -> list[psutil.Process]:
        """Agent, shims and jobs, the agent first."""
        roots = [shim for placement in self.placements() if (shim := placement.shim()) is not None]
        if self.alive and self.running is not None:
            roots.insert(0, psutil.Process(self.running.pid))
        found = {process.pid: process for process in roots}
        for root in roots:
            with suppress(psutil.Error):
                found |= {process.pid: process for process in root.children(recursive=True)}
        return list(found.values())

    def kill_agent(self) -> None:
        """kill -9 of the agent alone; its shims and jobs go on."""
        assert self.running is not None
        self.running.process.kill()
        self.running.process.wait()

    def lose_power(self) -> None:
        """kill -9 of agent, shims and jobs. The agent first: it must not notice that its jobs died."""
        for process in self.everything():
            with suppress(psutil.Error):
                process.kill()
        if self.running is not None:
            self.running.process.wait()

    def pause(self) -> list[psutil.Process]:
        """SIGSTOP to the whole machine; answers what stands still."""
        stopped = self.everything()
        for process in stopped:
            with suppress(psutil.Error):
                process.suspend()
        return stopped

    def pause_agent(self) -> list[psutil.Process]:
        """SIGSTOP to the agent alone."""
        assert self.running is not None
        stopped = [psutil.Process(self.running.pid)]
        stopped[0].suspend()
        return stopped

    def view(self) -> dict[str, Any]:
        """The node's row as the database has it."""
        with self.cluster.connect() as connection:
            row = connection.execute(
                "SELECT to_jsonb(n) FROM nodes n WHERE id = %s", [self.node_id]
            ).fetchone()
        assert row is not None
        return dict(row[0])

    def wait_until_online(self, within_s: float = 60) -> None:
        """Return when the platform calls it online."""
        eventually(
            lambda: self.view()["liveness"] == "online", within_s=within_s, what=f"{self.name} is online"
        )

    def mount_small_disk(self, size_bytes: int) -> None:
        """Give the node a disk of its own of this size. Before it joins."""
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        options = f"size={size_bytes},mode=0755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "gp4u-rig", str(self.folder)], check=True)

    def resize_disk(self, size_bytes: int) -> None:
        """Change the size of that disk."""
        subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(self.folder)], check=True)

    def free_bytes(self) -> int:
        """What its disk has left."""
        return shutil.disk_usage(self.folder).free

    def _options(self) -> list[str]:
        return ["--state", str(self.state), "--simulate", str(self.spec), "--allow-unisolated"]


def resume(stopped: list[psutil.Process]) -> None:
    """SIGCONT, in the order of a machine that wakes: all at once, as far as there is such a thing."""
    for process in stopped:
        with suppress(psutil.Error):
            process.resume()
