"""A `gp4u up` to play with: started as a person would, in a folder of its own."""

import json
import os
import signal
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

    def command(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        clean = {
            name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")
        }
        return subprocess.run(
            [*GP4U, *arguments],
            env={**clean, "GP4U_DATA": str(self.data), "COLUMNS": "300", "NO_COLOR": "1", **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def up(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return self.command("up", "--detach", "--json", "--port", str(self.port), *arguments, **environment)

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        return document

    def part(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(part for part in self.status()["processes"] if part["name"] == name)
        return found

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        supervisor = psutil.Process(self.status()["pid"])
        return [supervisor, *supervisor.children(recursive=True)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "data", free_port())
    yield stack
    stack.command("down")
    postgres.delete(stack.data / "postgres")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
