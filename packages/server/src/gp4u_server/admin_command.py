"""`gp4u admin`: commands for those who run a marketplace. Each works on DATABASE_URL, or on a running `gp4u up`."""

import click
from gp4u.cli import LazyGroup


@click.command(
    cls=LazyGroup,
    lazy={"ledger": ("gp4u_server.ledger.command:ledger", "Check the books: gp4u admin ledger verify")},
)
def admin() -> None:
    """Look after a marketplace."""
