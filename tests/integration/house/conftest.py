"""A `gp4u up` to play with: started as a person would, in a folder of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from gp4u_server.embedded import postgres
from gp4u_server.embedded.program import free_port

GP4U = [sys.executable, "-c", "from gp4u.cli import main; main()"]


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


@dataclass
class Stack:
    """One data folder and the commands on it."""

    data: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        clean = {
            name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")
        }
        own = {
            "GP4U_DATA": str(self.data),
            "GP4U_URL": self.url,
            "GP4U_CONFIG": str(self.data.with_name("credentials.json")),
            "COLUMNS": "300",
            "NO_COLOR": "1",
        }
        return subprocess.run(
            [*GP4U, *arguments],
            env={**clean, **own, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def up(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return self.command("up", "--detach", "--json", "--port", str(self.port), *arguments, **environment)

    def status(self) -> dict[str, Any]:
        """What the supervisor wrote last."""
        document: dict[str, Any] = json.loads((self.data / "run" / "status.json").read_text())
        return document

    def part(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(part for part in self.status()["processes"] if part["name"] == name)
        return found

    def processes(self) -> list[psutil.Process]:
        """Everything that carries our data folder's address or stands below the supervisor, jobs included."""
        supervisor = psutil.Process(self.status()["pid"])
        ours = [supervisor, *supervisor.children(recursive=True)]
        for process in psutil.process_iter():
            try:
                mentions = str(self.data) in " ".join(process.cmdline())
            except psutil.Error:
                continue
            if mentions and process not in ours:
                ours += [process, *process.children(recursive=True)]
        return ours


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "data", free_port())
    yield stack
    stack.command("down")
    postgres.delete(stack.data / "postgres")


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more."""
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
