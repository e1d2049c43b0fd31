"""The `gp4u` command. Sub-commands are imported only when they run, so `--help` stays quick.

Other distributions add commands through the entry point group `gp4u.commands`: each names a light module with
`COMMANDS`, a dict from command name to (import path, short help).

Exit codes: 0 done · 1 the job or the operation failed · 2 wrong usage or input · 3 not signed in or not allowed ·
4 not found · 5 conflict (already taken, not possible now) · 6 the wallet does not cover it · 7 the server cannot be
reached · 130 interrupted.
"""

import os
import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

COMMANDS: dict[str, tuple[str, str]] = {
    "login": ("gp4u.commands.account:login", "Sign in to a marketplace"),
    "logout": ("gp4u.commands.account:logout", "Sign out"),
    "whoami": ("gp4u.commands.account:whoami", "Show who you are"),
    "register": ("gp4u.commands.account:register", "Create an account"),
    "keys": ("gp4u.commands.account:keys", "List, make and revoke API keys"),
    "sessions": ("gp4u.commands.account:sessions", "List where you are signed in, and sign out there"),
    "search": ("gp4u.commands.market:search", "Search GPUs that can be rented now"),
    "offers": ("gp4u.commands.market:offers", "List and change what you offer as an owner"),
    "run": ("gp4u.commands.run:run", "Run a job from a job file or a command line"),
    "ps": ("gp4u.commands.jobs:ps", "List your jobs"),
    "show": ("gp4u.commands.jobs:show", "Show a job with its timeline"),
    "logs": ("gp4u.commands.jobs:logs", "Print a job's output, -f to follow"),
    "stop": ("gp4u.commands.jobs:stop", "Stop a job after a final checkpoint"),
    "why": ("gp4u.commands.jobs:why", "Explain why a job runs where it runs"),
    "jobs": ("gp4u.commands.jobs:jobs", "The same verbs, grouped: jobs ls, show, logs, stop, why"),
    "checkpoints": (
        "gp4u.commands.checkpoints:checkpoints",
        "Show, compare, verify, download, pin and fork a job's checkpoints",
    ),
    "wallet": ("gp4u.commands.wallet:wallet", "Show the balance, top up, list entries and receipts"),
    "earnings": ("gp4u.commands.wallet:earnings", "Show what your nodes earned"),
    "nodes": ("gp4u.commands.node_record:nodes", "List your nodes and enrol new ones"),
    "admin": ("gp4u.commands.admin:admin", "Look after a marketplace: rule on incidents"),
    "completion": ("gp4u.commands.completion:completion", "Complete commands with the tab key in your shell"),
}

# What people type who come from other tools; too far from our words for a spelling check.
_OTHER_WORDS = {
    "balance": "wallet",
    "cancel": "stop",
    "delete": "stop",
    "describe": "show",
    "explain": "why",
    "get": "show",
    "info": "show",
    "init": "login",
    "kill": "stop",
    "list": "ps",
    "ls": "ps",
    "rm": "stop",
    "signin": "login",
    "signup": "register",
    "start": "up",
    "submit": "run",
    "tail": "logs",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when help is printed."""

    def __init__(
        self, *args: Any, lazy: dict[str, tuple[str, str]], plugins: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy)
        self._plugins = plugins

    def _table(self) -> dict[str, tuple[str, str]]:
        if self._plugins:
            self._plugins = False
            for entry_point in entry_points(group="gp4u.commands"):
                try:
                    self._lazy.update(entry_point.load().COMMANDS)
                except ImportError as error:
                    click.echo(f"Warning: commands of {entry_point.module} are missing: {error}", err=True)
        return self._lazy

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *self._table()])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        target = self._table().get(name)
        if target is None:
            return super().get_command(context, name)
        module, _, attribute = target[0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], self._table(), n=1)
            meant = close[0] if close else _OTHER_WORDS.get(args[0])
            if meant in self._table():
                raise click.UsageError(f"{error.message} Did you mean `{meant}`?", context) from error
            raise

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        # click would import every command for its help text; here a press of the tab key stays quick.
        named = [
            CompletionItem(name, help=self._table()[name][1])
            for name in sorted(self._table())
            if name.startswith(incomplete)
        ]
        return named + click.Command.shell_complete(self, context, incomplete)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        rows = {name: short_help for name, (_, short_help) in self._table().items()}
        rows |= {name: command.get_short_help_str() for name, command in self.commands.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows.items()))


@click.command(
    cls=LazyGroup,
    lazy=COMMANDS,
    plugins=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Every command takes --help, and those that print data take --json.",
)
@click.version_option(package_name="gp4u", prog_name="gp4u")
def gp4u() -> None:
    """GP4U: rent GPUs, run jobs that survive their nodes, earn with yours."""


def main() -> None:
    """Entry point of the `gp4u` script."""
    try:
        sys.exit(gp4u.main(standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as error:
        # Asked for by leaving everything out: on standard output, so that it can be paged.
        click.echo(error.format_message())
        sys.exit(0 if error.ctx is not None and error.ctx.parent is None else error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("Interrupted.")
        sys.exit(130)
    except SystemExit as error:
        # click noticed that nobody reads our output any more, as after `gp4u logs last | head`.
        sys.exit(0 if type(sys.stdout).__name__.endswith("PacifyFlushWrapper") else error.code)
    except BrokenPipeError:
        _leave_quietly(0)
    except OSError as error:
        _say(f"Error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        _leave_quietly(1)


def _say(text: str) -> None:
    with suppress(OSError):  # there may be nobody to tell
        click.echo(text, err=True)


def _leave_quietly(code: int) -> NoReturn:
    """Exit without Python's own attempt to write what is still buffered, which would fail once more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
