"""`gp4u admin` where only this package is installed: what an admin does over the API, signed in with `gp4u login`.

Platform hosts have `gp4u-server` as well, whose `gp4u admin` has these commands and those that work on its servers.
"""

import click

from gp4u.cli import LazyGroup

OVER_THE_API: dict[str, tuple[str, str]] = {
    "incidents": (
        "gp4u.commands.incidents:incidents",
        "Look at what went wrong on any node, and rule on whose doing it was",
    ),
    "drains": (
        "gp4u.commands.drains:drains",
        "Drains that are held because too many nodes showed one sign: confirm or dismiss",
    ),
}


@click.command(cls=LazyGroup, lazy=OVER_THE_API)
def admin() -> None:
    """Look after a marketplace. Needs the role admin."""
