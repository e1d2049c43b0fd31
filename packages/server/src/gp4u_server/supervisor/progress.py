"""What a start tells the person who waits: lines while it works, one panel at the end. Or JSON for a program."""

import json
import os
import shlex
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from rich.console import Console
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

DEMO_PASSWORD = "demo-gp4u"  # noqa: S105 - everybody may know it: it exists on loopback addresses only
DEMO_ACCOUNTS = ("renter@gp4u.demo", "owner@gp4u.demo", "operator@gp4u.demo", "admin@gp4u.demo")


class Progress(Protocol):
    """Hears how the start goes."""

    def step(self, title: str) -> None:
        """Work on `title` begins; what was begun before is done."""

    def note(self, text: str) -> None:
        """Something worth knowing that is no step."""

    def ready(self, summary: dict[str, Any]) -> None:
        """Everything runs."""

    def stopping(self) -> None:
        """Everything is being stopped."""


@dataclass
class TerminalProgress:
    """For people: a spinner in a terminal, plain lines elsewhere."""

    console: Console = field(default_factory=lambda: Console(highlight=False))
    detached: bool = False
    _status: Status | None = None
    _title: str | None = None
    _began: float = 0.0

    def step(self, title: str) -> None:
        self._done()
        self._title, self._began = title, time.monotonic()
        if self.console.is_terminal:
            self._status = self.console.status(f"{title} …")
            self._status.start()

    def note(self, text: str) -> None:
        self.console.print(f"  {text}", style="yellow")

    def ready(self, summary: dict[str, Any]) -> None:
        self._done()
        self.console.print(panel(summary))
        # Not in the panel: a command that is broken into two lines between frames cannot be copied.
        for line in commands_to_try(summary, detached=self.detached):
            self.console.print(line, soft_wrap=True, markup=False)

    def stopping(self) -> None:
        self._done(quietly=True)
        self.console.print("Stopping …")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._done(quietly=True)

    def _done(self, *, quietly: bool = False) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._title is not None and not quietly:
            took_s = time.monotonic() - self._began
            self.console.print(Text.assemble(("✓ ", "green"), self._title, (f"  {took_s:.1f} s", "dim")))
        self._title = None


@dataclass
class JsonProgress:
    """For programs: one JSON object when everything runs, nothing before."""

    def step(self, title: str) -> None:
        pass

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)  # noqa: T201

    def ready(self, summary: dict[str, Any]) -> None:
        print(json.dumps(summary, indent=2), flush=True)  # noqa: T201

    def stopping(self) -> None:
        pass


@dataclass
class PipeProgress:
    """For `gp4u up --detach`: the detached supervisor tells the command in front, which prints and leaves."""

    pipe: IO[str]

    def step(self, title: str) -> None:
        self._tell("step", title)

    def note(self, text: str) -> None:
        self._tell("note", text)

    def ready(self, summary: dict[str, Any]) -> None:
        self._tell("ready", summary)

    def failed(self, message: str, exit_code: int) -> None:
        """The start ended without success."""
        self._tell("failed", {"message": message, "exit_code": exit_code})

    def stopping(self) -> None:
        pass

    def _tell(self, kind: str, content: Any) -> None:
        with suppress(BrokenPipeError, ValueError):  # nobody listens any more: the command was interrupted
            self.pipe.write(json.dumps([kind, content]) + "\n")
            self.pipe.flush()


def panel(summary: dict[str, Any]) -> Panel:
    """The one panel at the end of a start."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    rows.add_row("Web, API, agents", Text(summary["address"], style="bold"))
    rows.add_row("API documents", f"{summary['address']}/docs")
    if summary["demo"]:
        rows.add_row("Demo accounts", "  ".join(DEMO_ACCOUNTS[:2]) + "\n" + "  ".join(DEMO_ACCOUNTS[2:]))
        rows.add_row("Password", f"{DEMO_PASSWORD}   (all four)")
        rows.add_row(
            "", Text("The demo fleet is simulated: real agents and jobs, invented GPUs.", style="yellow")
        )
    rows.add_row("Data", f"{summary['data']}   (delete it to start anew)")
    title = f"GP4U is ready in {summary['ready_s']:.1f} s"
    return Panel(rows, title=title, title_align="left", border_style="green", expand=False)


def commands_to_try(summary: dict[str, Any], *, detached: bool) -> list[str]:
    """What to type next, as it works in the folder where this was typed."""
    gp4u, data = how_to_call(summary["data"])
    if summary["demo"]:
        who = f"--email {DEMO_ACCOUNTS[0]} --password {DEMO_PASSWORD}"
        lines = [
            "Try:",
            f"  {gp4u} login {summary['address']} {who}",
            f"  {gp4u} search 'vram_gb>=24 sort:price'",
            f"  {gp4u} demo{data} failover",
        ]
    else:
        lines = [
            "Next: an account for yourself, and rights over this marketplace.",
            f"  {gp4u} register {summary['address']} --email YOU@EXAMPLE.ORG --owner",
            f"  {gp4u} admin{data} grant YOU@EXAMPLE.ORG admin",
            f"  {gp4u} nodes enrol --region REGION      prints what to type on a machine with GPUs",
        ]
    return [*lines, f"Stop: {gp4u} down{data}" if detached else "Stop: Ctrl-C"]


def how_to_call(data: str) -> tuple[str, str]:
    """The word that calls this very `gp4u` here, and the option for a data folder that is not the usual one."""
    ours = Path(sys.executable).with_name("gp4u")
    on_path = shutil.which("gp4u")
    if on_path is not None and Path(on_path).resolve() == ours.resolve():
        program = "gp4u"
    else:
        program = shlex.quote(str(ours.relative_to(Path.cwd()) if ours.is_relative_to(Path.cwd()) else ours))
    usual = Path(os.environ.get("GP4U_DATA", ".gp4u")).resolve()
    return program, "" if Path(data) == usual else f" --data {shlex.quote(data)}"
