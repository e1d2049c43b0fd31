"""`gp4u admin after-restore`: say that the database was put back from a backup."""

import asyncio

import click

from gp4u_server.foundation import incarnation
from gp4u_server.foundation.incarnation import FoundBy, Mark
from gp4u_server.kit.db import connect
from gp4u_server.settings import Settings


@click.command("after-restore")
@click.option("--yes", is_flag=True, help="Do not ask.")
def after_restore(yes: bool) -> None:
    """Say that the database was put back from a backup: epochs given out from now on lie above all that it forgot.

    Controllers notice by themselves when the object store was not put back with it. Saying it once too often does no harm.
    """
    if not yes:
        click.confirm("Was the database put back from a backup?", abort=True)
    mark = asyncio.run(_note())
    click.echo(
        f"Noted as restore number {mark.restores}: placements from now on have epochs above {mark.epoch_base}."
    )


async def _note() -> Mark:
    database = connect(Settings().database_url, application_name="gp4u-admin")
    try:
        async with database.transaction() as session:
            return await incarnation.restored(session, FoundBy.OPERATOR)
    finally:
        await database.close()
