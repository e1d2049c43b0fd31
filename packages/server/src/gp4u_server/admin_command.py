"""`gp4u admin`: commands for those who run a marketplace.

Most work on the servers that the environment names (DATABASE_URL and so on), or else on what `gp4u up` runs on the
data folder. Those of `gp4u.commands.admin` speak to the API as whoever is signed in, like every other command.
"""

import json
import os
from pathlib import Path

import click
from gp4u.cli import LazyGroup
from gp4u.commands.admin import OVER_THE_API

from gp4u_server.supervisor.command import data_option
from gp4u_server.supervisor.folder import DataFolder


@click.command(
    cls=LazyGroup,
    lazy={
        "ledger": ("gp4u_server.ledger.command:ledger", "Check the books: gp4u admin ledger verify"),
        "collect": (
            "gp4u_server.controller.collect_command:collect",
            "Collect what no checkpoint needs: gp4u admin collect --dry-run",
        ),
        "migrate": (
            "gp4u_server.migrations.migrate_command:migrate",
            "Bring the database's tables up to date",
        ),
        "after-restore": (
            "gp4u_server.controller.restore_command:after_restore",
            "Say that the database was put back from a backup",
        ),
        "grant": (
            "gp4u_server.accounts.command:grant",
            "Give an account a role: gp4u admin grant EMAIL ROLE",
        ),
        **OVER_THE_API,
    },
)
@data_option
@click.pass_context
def admin(context: click.Context, data: Path) -> None:
    """Look after a marketplace."""
    if os.environ.get("DATABASE_URL") or context.invoked_subcommand in OVER_THE_API:
        return
    folder = DataFolder(Path(data).resolve())
    try:
        found = json.loads(folder.environment.read_text()) if folder.is_locked() else {}
    except OSError as error:
        raise click.ClickException(f"{folder.environment} cannot be read: {error.strerror}") from error
    if not found:
        raise click.UsageError(
            f"Nothing runs on {folder.root}. Start it with `gp4u up`, name its folder with --data, or set DATABASE_URL."
        )
    os.environ.update(found)
