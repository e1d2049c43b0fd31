"""`gp4u admin`: commands for those who run a marketplace.

They work on the servers that the environment names (DATABASE_URL and so on), or else on what `gp4u up` runs on the
data folder.
"""

import json
import os
from pathlib import Path

import click
from gp4u.cli import LazyGroup

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
        "grant": (
            "gp4u_server.accounts.command:grant",
            "Give an account a role: gp4u admin grant EMAIL ROLE",
        ),
    },
)
@data_option
def admin(data: Path) -> None:
    """Look after a marketplace."""
    if os.environ.get("DATABASE_URL"):
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
