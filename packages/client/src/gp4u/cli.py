"""The `gp4u` command. Sub-commands are imported only when they run, so `--help` stays quick.

Other distributions add commands through the entry point group `gp4u.commands`: each names a light module with
`COMMANDS`, a dict from command name to (import path, short help).

Exit codes: 0 done · 1 the job or the operation failed · 2 wrong usage or input · 3 not signed in or not allowed ·
4 not found · 5 conflict (already taken, not possible now) · 6 the wallet does not cover it · 7 the server cannot be
reached · 130 interrupted.
"""

import sys
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "login": ("gp4u.commands.account:login", "Sign in to a marketplace"),
    "logout": ("gp4u.commands.account:logout", "Sign out"),
    "whoami": ("gp4u.commands.account:whoami", "Show who you are"),
    "register": ("gp4u.commands.account:register", "Create an account"),
    "keys": ("gp4u.commands.account:keys", "List, make and revoke API keys"),
    "search": ("gp4u.commands.market:search", "Search GPUs that can be rented now"),
    "offers": ("gp4u.commands.market:offers", "List and change what you offer as an owner"),
    "run": ("gp4u.commands.run:run", "Run a job from a job file or a command line"),
    "ps": ("gp4u.commands.jobs:ps", "List your jobs"),
    "show": ("gp4u.commands.jobs:show", "Show a job with its timeline"),
    "logs": ("gp4u.commands.jobs:logs", "Print a job's output, -f to follow"),
    "stop": ("gp4u.commands.jobs:stop", "Stop a job after a final checkpoint"),
    "why": ("gp4u.commands.jobs:why", "Explain why a job runs where it runs"),
    "jobs": ("gp4u.commands.jobs:jobs", "The same verbs, grouped: jobs ls, show, logs, stop, why"),
    "checkpoints": ("gp4u.commands.checkpoints:checkpoints", "List, verify and download a job's checkpoints"),
    "wallet": ("gp4u.commands.wallet:wallet", "Show the balance, top up, list entries and receipts"),
    "earnings": ("gp4u.commands.wallet:earnings", "Show what your nodes earned"),
    "nodes": ("gp4u.commands.nodes:nodes", "List your nodes and enrol new ones"),
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
            if close:
                raise click.UsageError(f"{error.message} Did you mean `{close[0]}`?", context) from error
            raise

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
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
