"""The detached supervisor: `gp4u up --detach` starts it and listens on a pipe until everything runs."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from gp4u_server.supervisor.errors import UpFailed
from gp4u_server.supervisor.plan import COUNTED, UpOptions
from gp4u_server.supervisor.progress import PipeProgress
from gp4u_server.supervisor.run import Supervisor


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="gp4u supervisor")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--demo", action="store_true")
    for kind in COUNTED:
        parser.add_argument(f"--{kind}", type=int, default=1)
    parser.add_argument("--progress-fd", type=int, required=True)
    arguments = parser.parse_args()
    counts = {kind: getattr(arguments, kind) for kind in COUNTED}
    options = UpOptions(arguments.host, arguments.port, arguments.data, arguments.demo, **counts)
    os.set_inheritable(arguments.progress_fd, False)
    with os.fdopen(arguments.progress_fd, "w", closefd=True) as pipe:
        progress = PipeProgress(pipe)
        try:
            asyncio.run(Supervisor(options, progress).run())
        except UpFailed as error:
            progress.failed(str(error), error.exit_code)
            sys.exit(error.exit_code)
        except Exception as error:
            # A fault of ours. Its story goes into the log; who waits in front is told the end of it.
            progress.failed(f"The supervisor failed: {type(error).__name__}: {error}", 1)
            raise


main()
