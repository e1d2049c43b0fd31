"""The worker's application with tasks that go wrong, for the test of poison messages."""

import os
import signal
from pathlib import Path

from gp4u_server.worker.app import app


@app.task
def works(number: int) -> None:
    """Leaves a file."""
    Path(os.environ["GP4U_TEST_DONE"], str(number)).touch()


@app.task
def raises(number: int) -> None:
    """Fails each time."""
    raise ValueError(f"poison {number}")


@app.task
def dies(number: int) -> None:
    """Takes its process down, as the out-of-memory killer would."""
    os.kill(os.getpid(), signal.SIGKILL)
