"""`gp4u up`. Exit codes: 0 done · 1 could not start · 2 options that do not go together · 5 the port is taken, or the
folder is held by another one · 130 interrupted before everything ran.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from gp4u_server.embedded.program import last_lines
from gp4u_server.supervisor.command import data_option, json_option
from gp4u_server.supervisor.errors import UpFailed
from gp4u_server.supervisor.folder import DataFolder
from gp4u_server.supervisor.plan import COUNTED, PROCESSES_MAX, UpOptions
from gp4u_server.supervisor.progress import JsonProgress, TerminalProgress
from gp4u_server.supervisor.run import Supervisor


def _count_option(kind: str, what: str) -> Callable[[Any], Any]:
    return click.option(
        f"--{kind}",
        type=click.IntRange(1, PROCESSES_MAX),
        default=1,
        show_default=True,
        metavar="N",
        help=f"How many {what}.",
    )


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="The one public port."
)
@data_option
@click.option(
    "--demo/--no-demo", default=False, help="Add demo accounts and a simulated fleet (this machine only)."
)
@_count_option("apis", "processes that answer people and programs")
@_count_option("gateways", "processes that agents are connected to")
@_count_option("controllers", "processes that place, watch and bill jobs")
@_count_option("workers", "processes for background tasks")
@click.option("--detach", is_flag=True, help="Return when everything runs; stop it with `gp4u down`.")
@json_option
def up(host: str, port: int, data: Path, demo: bool, detach: bool, as_json: bool, **counts: int) -> None:
    """Start the whole marketplace on this machine.

    PostgreSQL and Valkey are started from packages unless DATABASE_URL and REDIS_URL name others; S3_ENDPOINT and
    S3_BUCKET replace the folder store.
    """
    options = UpOptions(host, port, Path(data), demo, **counts)
    if detach:
        _start_detached(options, as_json=as_json)
        return
    terminal = TerminalProgress()
    try:
        asyncio.run(Supervisor(options, JsonProgress() if as_json else terminal).run())
    except UpFailed as error:
        terminal.close()
        _fail(str(error), error.exit_code)


def _start_detached(options: UpOptions, *, as_json: bool) -> None:
    folder = DataFolder(options.data.resolve())
    try:
        folder.inspect()
        folder.make()
    except UpFailed as error:
        _fail(str(error), error.exit_code)
    read_end, write_end = os.pipe()
    command = [
        sys.executable,
        "-m",
        "gp4u_server.supervisor",
        "--host",
        options.host,
        "--port",
        str(options.port),
    ]
    command += ["--data", str(folder.root), "--progress-fd", str(write_end)]
    for kind in COUNTED:
        command += [f"--{kind}", str(getattr(options, kind))]
    if options.demo:
        command.append("--demo")
    with (folder.run / "supervisor.log").open("ab") as log:
        supervisor = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[write_end],
        )
    os.close(write_end)
    progress = JsonProgress() if as_json else TerminalProgress(detached=True)
    try:
        if _tell(read_end, progress):
            return
    except KeyboardInterrupt:
        # Nobody wants in the background what he has just interrupted.
        supervisor.terminate()
        progress.stopping()
        supervisor.wait()
        sys.exit(130)
    _fail(
        f"The supervisor ended before it was ready. The end of {folder.run / 'supervisor.log'}:\n"
        f"{last_lines(folder.run / 'supervisor.log')}",
        1,
    )


def _tell(read_end: int, progress: TerminalProgress | JsonProgress) -> bool:
    """Show what the detached supervisor says until it is ready; False when it ended without a word."""
    with os.fdopen(read_end) as pipe:
        for line in pipe:
            kind, content = json.loads(line)
            if kind == "step":
                progress.step(content)
            elif kind == "note":
                progress.note(content)
            elif kind == "ready":
                progress.ready(content)
                return True
            elif kind == "failed":
                if isinstance(progress, TerminalProgress):
                    progress.close()
                _fail(content["message"], content["exit_code"])
    return False


def _fail(message: str, code: int) -> NoReturn:
    Console(stderr=True, highlight=False).print(
        f"Error: {message}", style="red", markup=False, soft_wrap=True
    )
    sys.exit(code)
