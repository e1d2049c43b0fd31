"""`gp4u admin migrate`: brings the database's tables up to date. `gp4u up` does it by itself; a host with several machines
does it once, before the processes of the new version start."""

import os

import click

from gp4u_server import migrations


@click.command()
def migrate() -> None:
    """Bring the tables of DATABASE_URL up to date. Harmless when they are; processes of the release before run on."""
    try:
        migrations.upgrade(os.environ["DATABASE_URL"])
    except migrations.DatabaseIsNewer as error:
        raise click.ClickException(f"{error}: use the version that made it, or a newer one.") from error
    except migrations.Failed as error:
        raise click.ClickException(f"{error}. The step that failed changed nothing.") from error
    click.echo("The tables are up to date.")
