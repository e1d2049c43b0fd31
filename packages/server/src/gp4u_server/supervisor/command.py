"""`gp4u up`, `gp4u down`, `gp4u status`.

Exit codes: 0 done · 1 could not start, or a part is down · 2 options that do not go together · 5 the port is taken,
or the folder is held by another one · 7 nothing runs (status only).
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table

from gp4u_server.supervisor.errors import UpFailed
from gp4u_server.supervisor.folder import DataFolder
from gp4u_server.supervisor.plan import UpOptions
from gp4u_server.supervisor.progress import JsonProgress, TerminalProgress
from gp4u_server.supervisor.run import Supervisor

STOP_TIMEOUT_S = 90.0
NOTHING_RUNS = 7

_data = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: os.environ.get("GP4U_DATA", ".gp4u"),
    show_default="$GP4U_DATA, else .gp4u here",
    help="Folder that holds all state; deleting it is a reset.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="The one public port."
)
@_data
@click.option(
    "--demo/--no-demo", default=False, help="Add demo accounts and a simulated fleet (this machine only)."
)
@click.option("--detach", is_flag=True, help="Return when everything runs; stop it with `gp4u down`.")
@_json
def up(host: str, port: int, data: Path, demo: bool, detach: bool, as_json: bool) -> None:
    """Start the whole marketplace on this machine.

    PostgreSQL and Valkey are started from packages unless DATABASE_URL and REDIS_URL name others; S3_ENDPOINT and
    S3_BUCKET replace the folder store.
    """
    options = UpOptions(host, port, Path(data), demo)
    if detach:
        _start_detached(options, as_json=as_json)
        return
    terminal = TerminalProgress()
    try:
        asyncio.run(Supervisor(options, JsonProgress() if as_json else terminal).run())
    except UpFailed as error:
        terminal.close()
        _fail(str(error), error.exit_code)


@click.command()
@_data
def down(data: Path) -> None:
    """Stop what `gp4u up` started on this data folder. Jobs keep their last checkpoint."""
    folder = DataFolder(Path(data).resolve())
    if not folder.is_locked():
        click.echo(f"Nothing runs on {folder.root}.")
        return
    pid = int(folder.read_status()["pid"])
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while folder.is_locked():
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)  # the kernel takes its children down with it
            click.echo("It did not stop in time and was killed. Nothing that was saved is lost.", err=True)
            break
        time.sleep(0.05)
    click.echo("Stopped.")


@click.command()
@_data
@_json
def status(data: Path, as_json: bool) -> None:
    """Show what runs on this data folder."""
    folder = DataFolder(Path(data).resolve())
    if not folder.is_locked():
        if as_json:
            click.echo(json.dumps({"running": False, "data": str(folder.root)}))
        else:
            click.echo(f"Nothing runs on {folder.root}. Start it with `gp4u up`.")
        sys.exit(NOTHING_RUNS)
    document = {"running": True, **folder.read_status()}
    healthy = document["ready"] and all(part["state"] == "running" for part in document["parts"])
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        _print_status(document)
    sys.exit(0 if healthy else 1)


def _print_status(document: dict[str, Any]) -> None:
    console = Console(highlight=False)
    state = "ready" if document["ready"] else "starting or stopping"
    console.print(
        f"GP4U at {document['address']}: {state} (process {document['pid']}, data {document['data']})"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("PART", "STATE", "PROCESS", "RESTARTS", "LOG"):
        table.add_column(column)
    for part in document["parts"]:
        style = "green" if part["state"] == "running" else "yellow"
        table.add_row(
            part["name"],
            f"[{style}]{part['state']}[/]",
            str(part["pid"] or "-"),
            str(part["restarts"]),
            part["log"],
        )
    console.print(table)


def _start_detached(options: UpOptions, *, as_json: bool) -> None:
    folder = DataFolder(options.data.resolve())
    try:
        folder.inspect()
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
    if options.demo:
        command.append("--demo")
    folder.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.run.mkdir(mode=0o700, exist_ok=True)
    with (folder.run / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[write_end],
        )
    os.close(write_end)
    progress = JsonProgress() if as_json else TerminalProgress(detached=True)
    with os.fdopen(read_end) as pipe:
        for line in pipe:
            kind, content = json.loads(line)
            if kind == "step":
                progress.step(content)
            elif kind == "note":
                progress.note(content)
            elif kind == "ready":
                progress.ready(content)
                return
            elif kind == "failed":
                if isinstance(progress, TerminalProgress):
                    progress.close()
                _fail(content["message"], content["exit_code"])
    _fail(f"The supervisor ended before it was ready. Its log is {folder.run / 'supervisor.log'}.", 1)


def _fail(message: str, code: int) -> NoReturn:
    Console(stderr=True, highlight=False).print(f"Error: {message}", style="red", markup=False)
    sys.exit(code)
