"""`gp4u admin grant EMAIL ROLE`: give an account a role. Mounted under `gp4u admin` by the server's command."""

import asyncio

import click

from gp4u_server.accounts.roles import grant_role
from gp4u_server.accounts.types import Role, User
from gp4u_server.kit.db import connect
from gp4u_server.kit.errors import DomainError


@click.command()
@click.argument("email")
@click.argument("role", type=click.Choice([role.value for role in Role]))
@click.option(
    "--database-url", envvar="DATABASE_URL", required=True, help="Which database [env: DATABASE_URL]."
)
def grant(email: str, role: str, database_url: str) -> None:
    """Give the account of EMAIL the ROLE. It counts at once, for sessions that are open too."""
    try:
        user = asyncio.run(grant_in(database_url, email, Role(role)))
    except DomainError as error:
        raise click.ClickException(error.detail) from error
    held = ", ".join(known for known in Role if known in user.roles)
    click.echo(f"{user.email} holds: {held}")


async def grant_in(database_url: str, email: str, role: Role) -> User:
    """Grant in one transaction on a database of its own connection."""
    database = connect(database_url, pool_size=1, application_name="gp4u admin grant")
    try:
        async with database.transaction() as session:
            return await grant_role(session, email=email, role=role)
    finally:
        await database.close()
