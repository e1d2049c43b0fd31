"""The `marketplace` fixture: one stack for a whole test session, started as a new user would start it."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from gp4u_server.embedded import postgres

from tests.stack.marketplace import GP4U, Marketplace, free_port


@pytest.fixture(scope="session")
def marketplace() -> Iterator[Marketplace]:
    """A running marketplace with the demo fleet."""
    data = Path(tempfile.mkdtemp(prefix="gp4u-stack-"))
    data.chmod(0o755)
    port = free_port()
    up = [GP4U, "up", "--demo", "--detach", "--port", str(port), "--data", str(data / "data")]
    started = subprocess.run(up, capture_output=True, text=True, timeout=240, check=False)
    assert started.returncode == 0, started.stdout + started.stderr
    stack = Marketplace(f"http://127.0.0.1:{port}", data / "data")
    try:
        stack.wait_for_offers()
        yield stack
    finally:
        subprocess.run([GP4U, "down", "--data", str(data / "data")], timeout=120, check=False)
        postgres.delete(data / "data" / "postgres")  # as root part of it lies in a system folder
        shutil.rmtree(data, ignore_errors=True)
