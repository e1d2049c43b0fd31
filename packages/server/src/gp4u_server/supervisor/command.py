"""`gp4u down`, `gp4u restart` and `gp4u status`. Exit codes: 0 done · 1 a part is down, or did not come back · 7 nothing
runs (status and restart).
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from gp4u.output import console, table
from rich.text import Text

from gp4u_server.supervisor.folder import DataFolder

STOP_TIMEOUT_S = 90.0
NOTHING_RUNS = 7

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: os.environ.get("GP4U_DATA", ".gp4u"),
    show_default="$GP4U_DATA, else .gp4u here",
    help="Folder that holds all state; deleting it is a reset.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.command()
@data_option
@json_option
def down(data: Path, as_json: bool) -> None:
    """Stop what `gp4u up` started on this data folder. Jobs keep their last checkpoint."""
    folder = DataFolder(Path(data).resolve())
    ran = folder.is_locked()
    if ran:
        _stop(folder)
    if as_json:
        click.echo(json.dumps({"stopped": ran, "data": str(folder.root)}))
    elif ran:
        click.echo("Stopped.")
    else:
        click.echo(f"Nothing runs on {folder.root}. If it was started with another --data, name that one.")


def _stop(folder: DataFolder) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    asked: int | None = None
    while folder.is_locked():
        pid = folder.supervisor_pid()
        if pid is not None and pid != asked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            asked = pid
        if time.monotonic() > deadline:
            if pid is None:
                raise click.ClickException(f"Whoever holds {folder.root} did not say who it is, and goes on.")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # the kernel takes its children down with it
            click.echo("It did not stop in time and was killed. Nothing that was saved is lost.", err=True)
            return
        time.sleep(0.05)


@click.command()
@data_option
@json_option
def restart(data: Path, as_json: bool) -> None:
    """Restart the processes of GP4U one after the other, for example after an update.

    Each is told to end, finishes what it is at, and is followed by a new one before the next has its turn; agents move on to
    another gateway meanwhile. Jobs run on. PostgreSQL, Valkey and the public port are not touched.
    """
    folder = DataFolder(Path(data).resolve())
    before = folder.read_status()
    pid = folder.supervisor_pid()
    if not folder.is_locked() or pid is None:
        raise NothingRuns(f"Nothing runs on {folder.root}. Start it with `gp4u up`.")
    if before.get("pid") != pid or not before.get("ready") or "restart" not in before:
        raise click.ClickException(f"What runs on {folder.root} is starting, stopping, or too old for this.")
    os.kill(pid, signal.SIGUSR1)
    now = before["restart"]
    shown = None
    while now["number"] == before["restart"]["number"]:
        time.sleep(0.05)
        if not folder.is_locked():
            raise click.ClickException("It was stopped meanwhile.")
        now = folder.read_status().get("restart", now)
        if now["now"] not in (None, shown) and not as_json:
            shown = now["now"]
            click.echo(f"Restarting {shown}")
    if as_json:
        click.echo(json.dumps({"restarted": now["failure"] is None, "failure": now["failure"]}))
    elif now["failure"] is None:
        click.echo("Everything was restarted.")
    if now["failure"] is not None:
        raise click.ClickException(now["failure"])


class NothingRuns(click.ClickException):
    """There is nothing to restart."""

    exit_code = NOTHING_RUNS


# What is true of a supervisor that has the folder and has not written anything yet.
_STARTING: dict[str, Any] = {"address": None, "demo": None, "ready": False, "ready_s": None, "processes": []}


@click.command()
@data_option
@json_option
def status(data: Path, as_json: bool) -> None:
    """Show what runs on this data folder."""
    folder = DataFolder(Path(data).resolve())
    if not folder.is_locked():
        if as_json:
            click.echo(json.dumps({"running": False, "data": str(folder.root)}))
        else:
            click.echo(
                f"Nothing runs on {folder.root}. Start it with `gp4u up`, or name another folder with --data."
            )
        sys.exit(NOTHING_RUNS)
    written = folder.read_status()
    if written.get("pid") != folder.supervisor_pid():
        written = {}  # of the one before: this one has only begun
    document = {
        "running": True,
        **_STARTING,
        "pid": folder.supervisor_pid(),
        "data": str(folder.root),
        **written,
    }
    healthy = document["ready"] and all(part["state"] == "running" for part in document["processes"])
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        _print_status(document)
    sys.exit(0 if healthy else 1)


def _print_status(document: dict[str, Any]) -> None:
    state = "ready" if document["ready"] else "starting or stopping"
    console.print(
        f"GP4U{' at ' + document['address'] if document['address'] else ''}: {state} (process {document['pid']}, "
        f"data {document['data']})",
        soft_wrap=True,
        markup=False,
    )
    table(
        ["PROCESS", "STATE", "PID", "RESTARTS", "LOG"],
        [
            [
                part["name"],
                Text(part["state"], style="green" if part["state"] == "running" else "yellow"),
                part["pid"] or "-",
                part["restarts"],
                part["log"],
            ]
            for part in document["processes"]
        ],
        empty="No part of it was started yet.",
        right=frozenset({2, 3}),
    )
